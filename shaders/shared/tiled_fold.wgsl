// The body of shaders/encode/tiled.wgsl: the dot products (rule D) of 8 rows and 4 features of each half per
// thread, in sum_h_i.
    let tile = tile_of(group);
    let tile_row = tile.x * ${ROWS}u;
    let tile_feature = tile.y * ${FEATURES}u;
    let column = thread % COLUMNS;
    let row = thread / COLUMNS;
#for l in 0..${LOADS}
    let block_${l} = thread + ${l}u * THREADS;
    let lines_${l} = block_lines(block_${l}, tile_row, tile_feature);
    let place_${l} = block_place(block_${l});
#end
#for h in 0..${HALVES}
#for i in 0..8
    var sum_${h}_${i} = vec4(0.0);
#end
#end
    var current = 0u;
#if DOUBLE
#for l in 0..${LOADS}
    store_block(0u, block_${l}, place_${l}, load_block(block_${l}, lines_${l}));
#end
    workgroupBarrier();
#end
    for (var at = 0u; at < params.quads; at += STAGE_QUADS) {
#if DOUBLE
        // On its way while this stage is multiplied; after the last stage that one once more, which nobody reads.
        let next = min(at + STAGE_QUADS, params.quads - STAGE_QUADS);
#else
        let next = at;
#end
#for l in 0..${LOADS}
        let rows_${l} = load_block(block_${l}, lines_${l} + next);
#end
#if DOUBLE
#else
        workgroupBarrier();
#for l in 0..${LOADS}
        store_block(0u, block_${l}, place_${l}, rows_${l});
#end
        workgroupBarrier();
#end
#for k in 0..${DEPTH}
        {
            let x_at = current + ${k}u * X_LINE + ${k}u / 4u * GAP + row;
            let w_at = current + X_TILE + ${k}u * W_LINE + ${k}u / 4u * GAP + column;
#for h in 0..${HALVES}
            let w_${h} = staged[w_at + ${h}u * COLUMNS];
#end
            let x_low = staged[x_at];
            let x_high = staged[x_at + ${ROWS}u / 8u];
#for h in 0..${HALVES}
#for i in 0..4
            sum_${h}_${i} = fma(vec4(x_low[${i}]), w_${h}, sum_${h}_${i});
#end
#for i in 4..8
            sum_${h}_${i} = fma(vec4(x_high[${i} - 4]), w_${h}, sum_${h}_${i});
#end
#end
        }
#end
#if DOUBLE
        current = STAGE - current;
#for l in 0..${LOADS}
        store_block(current, block_${l}, place_${l}, rows_${l});
#end
        workgroupBarrier();
#end
    }
