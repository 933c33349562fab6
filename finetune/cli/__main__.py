"""`python -m finetune.cli`: the `finetune` command from a checkout that is not installed. Tests: tests/finetune/cli/test_command.py."""

import sys

from finetune.cli import main

sys.exit(main())
