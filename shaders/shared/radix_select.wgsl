// The part of select.wgsl for rows with too many candidates to rank: their k largest by a radix select, with counts and
// places by prefix sums. Needs what select.wgsl defines.
var<workgroup> digit_counts: array<atomic<u32>, 256>;
/// The order of the k-th largest key, as far as the digits so far decide it, and how many of those that equal it so far
/// are kept.
var<workgroup> prefix: u32;
var<workgroup> wanted: u32;

/// Digits that a thread adds up.
const OWN_DIGITS: u32 = 256u / ${WORKGROUP}u;

fn count_digit(key_order: u32, shift: u32, decided: u32) {
    // In two steps, because a shift by 32 is none.
    if (key_order >> shift) >> 8u == decided {
        atomicAdd(&digit_counts[(key_order >> shift) & 255u], 1u);
    }
}

/// Finds the k-th largest key digit by digit, then keeps what is above it and the first of its equals, in order.
fn radix_select(row: u32, thread: u32) {
    let quads = (params.width + 3u) / 4u;
    if thread == 0u {
        prefix = 0u;
        wanted = min(params.k, params.filled + params.width);
    }
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - 8u * digit;
        for (var at = thread; at < 256u; at += ${WORKGROUP}u) {
            atomicStore(&digit_counts[at], 0u);
        }
        let decided = workgroupUniformLoad(&prefix);
        for (var at = thread; at < params.filled; at += ${WORKGROUP}u) {
            count_digit(order(bitcast<f32>(entries[first_entry(row) + at].w)), shift, decided);
        }
        for (var quad = thread; quad < quads; quad += ${WORKGROUP}u) {
            // What is past the end of the chunk, of order 0, counts as less than all that is wanted.
            let key_orders = chunk_orders(chunk_keys(chunk_values(row, quad), quad), quad);
#for c in 0..4
            count_digit(key_orders[${c}], shift, decided);
#end
        }
        find_digit(thread, decided);
    }
    let threshold = workgroupUniformLoad(&prefix);
    let equal_wanted = workgroupUniformLoad(&wanted);
    // Above the threshold, and equal to it; both counts in one word, for a tile has fewer than 2^16 candidates.
    var taken = vec2(0u);
    // What is kept never lands behind the candidate it came from, so a tile's writes cannot reach what is still to be
    // read.
    for (var tile = 0u; tile < params.filled; tile += ${WORKGROUP}u) {
        let at = tile + thread;
        var mine: Candidate;
        var kind = 0u;
        if at < params.filled {
            mine = candidate(row, at);
            kind = kind_of(order(mine.key), threshold);
        }
        // The whole tile is read before any of it is overwritten.
        storageBarrier();
        let before = sum_before(thread, kind);
        keep_if(row, mine, kind, taken + counts_of(before), equal_wanted);
        taken += counts_of(sums[${WORKGROUP}u - 1u]);
        workgroupBarrier();
    }
    for (var tile = 0u; tile < quads; tile += ${WORKGROUP}u) {
        let quad = tile + thread;
        var values = vec4(0.0);
        var keys = vec4(0.0);
        var kinds = vec4(0u);
        if quad < quads {
            values = chunk_values(row, quad);
            keys = chunk_keys(values, quad);
            let key_orders = chunk_orders(keys, quad);
#for c in 0..4
            let kind_${c} = kind_of(key_orders[${c}], threshold);
#end
            kinds = vec4(kind_0, kind_1, kind_2, kind_3);
        }
        var before = taken + counts_of(sum_before(thread, (kinds.x + kinds.y) + (kinds.z + kinds.w)));
#for c in 0..4
        let candidate_${c} = Candidate(params.first + quad * 4u + ${c}u, values[${c}], keys[${c}]);
        keep_if(row, candidate_${c}, kinds[${c}], before, equal_wanted);
        before += counts_of(kinds[${c}]);
#end
        taken += counts_of(sums[${WORKGROUP}u - 1u]);
        workgroupBarrier();
    }
}

/// Decides the next digit of the k-th largest key: the one whose count, added to those of larger ones, is enough.
fn find_digit(thread: u32, decided: u32) {
    let still_wanted = workgroupUniformLoad(&wanted);
    let top = 255u - thread * OWN_DIGITS;
    var sum = 0u;
    for (var digit = 0u; digit < OWN_DIGITS; digit++) {
        sum += atomicLoad(&digit_counts[top - digit]);
    }
    var above = sum_before(thread, sum);
    if above < still_wanted && above + sum >= still_wanted {
        var value = top;
        while above + atomicLoad(&digit_counts[value]) < still_wanted {
            above += atomicLoad(&digit_counts[value]);
            value--;
        }
        wanted = still_wanted - above;
        prefix = (decided << 8u) | value;
    }
    workgroupBarrier();
}

fn kind_of(key_order: u32, threshold: u32) -> u32 {
    return select(0u, 1u, key_order > threshold) | select(0u, 0x10000u, key_order == threshold);
}

/// How many are above the threshold, and how many equal to it.
fn counts_of(kinds: u32) -> vec2<u32> {
    return vec2(kinds & 0xffffu, kinds >> 16u);
}

/// Keeps a candidate that is above the threshold, or one of its first equals, behind those that are kept before it.
fn keep_if(row: u32, mine: Candidate, kind: u32, before: vec2<u32>, equal_wanted: u32) {
    if kind == 1u || (kind != 0u && before.y < equal_wanted) {
        keep(row, before.x + min(before.y, equal_wanted), mine);
    }
}
