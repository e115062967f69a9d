"""``python -m udocker``."""

from udocker.cli.main import main

raise SystemExit(main())
