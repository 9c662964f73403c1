# Three commands; all install what they need. See README.md.
.PHONY: demo test bench

demo:
	@cargo xtask demo $(DEMO_ARGS)

test:
	@cargo xtask ci

bench:
	@cargo xtask bench $(BENCH_ARGS)
