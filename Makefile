.PHONY: install check test quick docs lock

install:  ## everything into .venv
	bash scripts/install.sh

check: install  ## lint, format, types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ty check

test:  ## every test
	bash scripts/test.sh

quick:  ## two rounds of RAFT on the CPU
	bash scripts/quickstart.sh

docs: install  ## docs/methods.md and the table in README.md, from the docstrings
	.venv/bin/python scripts/make_docs.py

lock: install  ## requirements/cpu.lock anew
	bash scripts/lock.sh
