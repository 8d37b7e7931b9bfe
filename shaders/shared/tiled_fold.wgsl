// The body of shaders/encode/tiled.wgsl: the dot products (rule D) of 8 rows and 4 features of each half per
// thread, in sum_h_i.
    let tile = tile_of(group);
    let tile_row = tile.x * ROWS;
    let tile_feature = tile.y * FEATURES;
    let column = thread % COLUMNS;
    let row = thread / COLUMNS;
    let block = block_of(thread);
    let lines = block_lines(block, tile_row, tile_feature);
    let place = block.x * 4u * LINE + block.y;
#for h in 0..2
#for i in 0..8
    var sum_${h}_${i} = vec4(0.0);
#end
#end
    var current = 0u;
#if DOUBLE
    store_block(place, load_block(block, lines));
    workgroupBarrier();
#end
    var at = 0u;
    loop {
#if DOUBLE
        // On its way while this stage is multiplied; after the last stage that one once more, which nobody reads.
        let next = min(at + STAGE_QUADS, params.quads - STAGE_QUADS);
#else
        let next = at;
#end
        let rows = load_block(block, lines + next);
#if DOUBLE
#else
        workgroupBarrier();
        store_block(place, rows);
        workgroupBarrier();
#end
#if ROLLED
        var x_at = current + row;
        var w_at = current + X_LINE + column;
        let end = x_at + STAGE;
        loop {
#include tiled_dimension
            continuing {
                w_at += LINE;
                x_at += LINE;
                break if x_at >= end;
            }
        }
#else
#for k in 0..${DEPTH}
        {
            let x_at = current + row + ${k}u * LINE;
            let w_at = current + column + X_LINE + ${k}u * LINE;
#include tiled_dimension
        }
#end
#end
#if DOUBLE
        current = STAGE - current;
        store_block(current + place, rows);
        workgroupBarrier();
#end
        continuing {
            at += STAGE_QUADS;
            break if at >= params.quads;
        }
    }
