# Two commands; both install what they need. See README.md.
.PHONY: demo test

demo:
	@cargo xtask demo $(DEMO_ARGS)

test:
	@cargo xtask ci
