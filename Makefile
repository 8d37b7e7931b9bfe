# make demo    trains and evaluates an SAE on real activations, in about two minutes
# make test    everything is tested, on software Vulkan where the machine has no driver
# make check   formatting, lints and the links of the documentation
# make test-browser   the pages of `monosem report` in headless Chromium, if there is one
# make bench   every kernel of a step beside what this device can do at best; cargo bench compares two builds
# make portability   other compilers and other Vulkans than this machine's: by hand, as root, on Debian; see tests/portability

.PHONY: demo test test-browser check bench portability vulkan

gpus = ada navi31 bmg
program = --release --locked --no-default-features --features cli

demo: vulkan
	cargo build $(program)
	@rm -rf target/demo
	cargo run -q $(program) -- train --data examples/data/sample-train.safetensors --out target/demo \
	    --features 2048 --k 16 --batch 1024 --steps 400 --val examples/data/sample-val.safetensors
	cargo run -q $(program) -- eval --sae target/demo --data examples/data/sample-val.safetensors
	@echo
	@echo "explained_variance is the share of held-out text's variance that the SAE reconstructs"
	@echo "from 16 of its 2,048 features per token."
	@echo "The SAE is in target/demo/sae; SAELens loads it as it is (SAE.load_from_disk)."

# NODEVICE_SELECT: without an X session Mesa's device-select layer prints errors that are none.
test: vulkan
	NODEVICE_SELECT=1 cargo test --release --locked

test-browser:
	tests/browser/run

check:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --locked --no-default-features --features cli -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc -q --no-deps --locked

bench: vulkan
	cargo run -q --release --locked -- bench --d 384 --features 16384 --batch 2048

portability:
	cargo build -q --release --locked
	@failed=; \
	for check in browser "vulkan swiftshader" "vulkan newest-mesa" compilers bounds $(gpus:%="gpu-compilers % target/release/monosem devices"); do \
	    echo "== $$check"; tests/portability/$$check || failed="$$failed; $$check"; done; \
	[ -z "$$failed" ] || { echo "failed$$failed" >&2; exit 1; }

# A Vulkan driver is a file icd.d/*.json: Mesa's llvmpipe is one in software.
vulkan:
	@if [ "$$(uname)" = Linux ] && [ -z "$$VK_DRIVER_FILES$$VK_ICD_FILENAMES" ] && \
	    ! ls /usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json 2>/dev/null | grep -q .; then \
	    install="apt-get install -y libvulkan1 mesa-vulkan-drivers"; \
	    if ! command -v apt-get >/dev/null; then \
	        echo "no Vulkan driver: install your GPU's, or Mesa's llvmpipe for one in software, then make again" >&2; exit 1; fi; \
	    echo "no Vulkan driver: $$install"; \
	    if [ "$$(id -u)" = 0 ]; then apt-get update -qq && $$install >/dev/null; \
	    elif [ -t 0 ]; then sudo apt-get update -qq && sudo $$install; \
	    else echo "run it as root, then make again" >&2; exit 1; fi; \
	fi
