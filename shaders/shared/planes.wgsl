// The planes of `scalars`, [planes, count] words. The host numbers the planes (src/engine/planes.rs); those that an SAE
// does not need do not exist.
// What an architecture trains besides the matrices: a bias where BIASED is 1, and OWN other scalars of a feature. A
// term has EXTRAS vectors of sums (summary.wgsl); CLOSED: there is a closed form (closed.wgsl).
#define BIASED 1
#define OWN 0
#define EXTRAS 0
#define CLOSED 0
#define BIAS 0
#define NORM 1
#define MOMENTS 2
#define LAST_FIRED 4
#define TIMES_FIRED 5
#define RUN 6
#define SLOPES 7
#define ALONG 8
#define FIRED 9
#define SQUARES_ENC 10
#define SQUARES_DEC 11
#define FLAWED 12
#define DEAD 13
#define MARK 14
#define OWN_0 15
#define OWN_MOMENTS_0 16
#define OWN_SUM_0 18
#define OWN_1 19
#define OWN_MOMENTS_1 20
#define OWN_SUM_1 22
#define OWN_2 23
#define OWN_MOMENTS_2 24
#define OWN_SUM_2 26
#define PULL 27
#define LOSS 28
#define SHIFT 29
#define CLOSED_LOSS 30
/// What `encode` adds to a feature's product.
const BIAS: u32 = ${BIAS}u;
/// The norm of its decoder row.
const NORM: u32 = ${NORM}u;
/// Adam's moments of its bias, m and v.
const MOMENTS: u32 = ${MOMENTS}u;
/// The step in which it fired last, 0 if it never did.
const LAST_FIRED: u32 = ${LAST_FIRED}u;
/// The rows on which it fired, as many as a word counts.
const TIMES_FIRED: u32 = ${TIMES_FIRED}u;
/// 1 + the index of its run, 0 if this batch has none of it: the sums over its terms are then stale.
const RUN: u32 = ${RUN}u;
/// The sum of its terms' p: the gradient of its bias.
const SLOPES: u32 = ${SLOPES}u;
/// Its decoder row's gradient times the row itself.
const ALONG: u32 = ${ALONG}u;
/// Rows of the batch on which it fires.
const FIRED: u32 = ${FIRED}u;
/// Squared norms of the gradients of its rows in W_enc and W_dec.
const SQUARES_ENC: u32 = ${SQUARES_ENC}u;
const SQUARES_DEC: u32 = ${SQUARES_DEC}u;
/// Not 0 once an update has left it a parameter that is not finite.
const FLAWED: u32 = ${FLAWED}u;
/// The dead features of the shard, in ascending order.
const DEAD: u32 = ${DEAD}u;
/// The last step whose batch it fired on, that of the step under way included.
const MARK: u32 = ${MARK}u;
/// Its own scalars besides its bias, in the order of the architecture's tensors.
const OWN_0: u32 = ${OWN_0}u;
const OWN_1: u32 = ${OWN_1}u;
const OWN_2: u32 = ${OWN_2}u;
/// Their moments, m and v of each.
const OWN_MOMENTS_0: u32 = ${OWN_MOMENTS_0}u;
const OWN_MOMENTS_1: u32 = ${OWN_MOMENTS_1}u;
const OWN_MOMENTS_2: u32 = ${OWN_MOMENTS_2}u;
/// Their gradients.
const OWN_SUM_0: u32 = ${OWN_SUM_0}u;
const OWN_SUM_1: u32 = ${OWN_SUM_1}u;
const OWN_SUM_2: u32 = ${OWN_SUM_2}u;
/// The gradient of the norm of its decoder row by the penalties alone.
const PULL: u32 = ${PULL}u;
/// Its part of the penalty.
const LOSS: u32 = ${LOSS}u;
/// What the closed form adds to the gradient of its pre-activation on every row.
const SHIFT: u32 = ${SHIFT}u;
/// Its part of the closed form's loss.
const CLOSED_LOSS: u32 = ${CLOSED_LOSS}u;
