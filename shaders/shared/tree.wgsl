// Rule T (docs/architecture.md): the chunks of the model are the leaves of a complete binary tree.
#define LEVELS 6
const CHUNKS: u32 = 1u << ${LEVELS}u;
