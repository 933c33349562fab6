"""`python -m controller.cli`: the `finetune` command from a checkout that is not installed. Tests: tests/controller/cli/test_command.py."""

import sys

from controller.cli import main

sys.exit(main())
