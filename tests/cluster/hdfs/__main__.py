import sys

from .jars import main

sys.exit(main())
