"""`python -m tests.hostile`: the conformance suite."""

from tests.hostile.commands import main

raise SystemExit(main())
