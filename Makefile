# make test    everything is tested, on software Vulkan where the machine has no driver
# make check   formatting and lints
# make bench   criterion benchmarks of kernels and the step

.PHONY: test check bench vulkan

test: vulkan
	cargo test --release --locked

check:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

bench: vulkan
	cargo bench --locked

# A Vulkan driver is a file icd.d/*.json: Mesa's llvmpipe is one in software.
vulkan:
	@if [ "$$(uname)" = Linux ] && [ -z "$$VK_DRIVER_FILES$$VK_ICD_FILENAMES" ] && \
	    ! ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json 2>/dev/null | grep -q .; then \
	    install="apt-get install -y libvulkan1 mesa-vulkan-drivers"; \
	    echo "no Vulkan driver: $$install"; \
	    if [ "$$(id -u)" = 0 ]; then apt-get update -qq && $$install >/dev/null; \
	    elif [ -t 0 ]; then sudo apt-get update -qq && sudo $$install; \
	    else echo "run it as root, then make again" >&2; exit 1; fi; \
	fi
