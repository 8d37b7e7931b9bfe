/// The high half of a 64-bit product, out of 16-bit halves.
fn high_product(a: u32, b: u32) -> u32 {
    let low = a & 0xffffu;
    let high = a >> 16u;
    let left = high * (b & 0xffffu) + ((low * (b & 0xffffu)) >> 16u);
    let right = low * (b >> 16u) + (left & 0xffffu);
    return high * (b >> 16u) + (left >> 16u) + (right >> 16u);
}

/// Philox4x32-7, as src/rng.rs has it for rounding.
fn philox(index: vec2<u32>, stream: u32, purpose: u32, seed: vec2<u32>) -> vec4<u32> {
    var counter = vec4(index, stream, purpose);
    var key = seed;
    for (var round = 0u; round < 7u; round++) {
        let low0 = counter.x * 0xd2511f53u;
        let low1 = counter.z * 0xcd9e8d57u;
        let high0 = high_product(counter.x, 0xd2511f53u);
        let high1 = high_product(counter.z, 0xcd9e8d57u);
        counter = vec4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}
