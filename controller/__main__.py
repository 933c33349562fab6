"""`python -m controller`: run the controller, see controller.main."""

import sys

from controller.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
