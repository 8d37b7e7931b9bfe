#define COLUMNS 3
/// Threads that take a piece of a row by turns, COLUMNS vectors of 4 each: few pieces are read at a time, each on and on.
const PIECE_THREADS: u32 = 8u;
const PIECE: u32 = PIECE_THREADS * ${COLUMNS}u;

/// The row and the first vector of a thread, where threads take one piece after the other of one row after the other.
fn own_piece(thread: u32, quads: u32) -> vec2<u32> {
    let pieces = (quads + PIECE - 1u) / PIECE;
    let piece = thread / PIECE_THREADS;
    return vec2(piece / pieces, piece % pieces * PIECE + thread % PIECE_THREADS);
}
