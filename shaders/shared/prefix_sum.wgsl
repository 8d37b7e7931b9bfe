#define SUM_THREADS 256
/// Sums of SUM_THREADS threads; after `sum_before` each is that of all values up to and with its thread's.
var<workgroup> sums: array<u32, ${SUM_THREADS}>;

/// The sum of the values of the threads before this one; to be called by the whole workgroup.
fn sum_before(thread: u32, value: u32) -> u32 {
    sums[thread] = value;
    for (var step = 1u; step < ${SUM_THREADS}u; step = step << 1u) {
        workgroupBarrier();
        var sum = sums[thread];
        if thread >= step {
            sum += sums[thread - step];
        }
        workgroupBarrier();
        sums[thread] = sum;
    }
    workgroupBarrier();
    return sums[thread] - value;
}
