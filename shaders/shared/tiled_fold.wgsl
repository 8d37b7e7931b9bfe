// The body of shaders/encode/tiled.wgsl: the dot products (rule D) of 8 rows and 4 + 4 features a thread, in low_i and high_i.
    let tile_row = group.y * ${ROWS}u;
    let tile_feature = group.x * ${FEATURES}u;
    let column = thread % COLUMNS;
    let row = thread / COLUMNS;
    // Rows and features past the end repeat the last one: loaded, computed, never stored.
#for l in 0..${X_LOADS}
    let x_line_${l} = (thread + ${l}u * THREADS) / STAGE_QUADS;
    let x_quad_${l} = (thread + ${l}u * THREADS) % STAGE_QUADS;
    let x_from_${l} = min(tile_row + x_line_${l}, params.rows - 1u) * params.quads + x_quad_${l};
    let x_to_${l} = x_quad_${l} * (4u * X_LINE + GAP) + x_line_${l} / 4u;
#end
#for l in 0..${W_LOADS}
    let w_line_${l} = (thread + ${l}u * THREADS) / STAGE_QUADS;
    let w_quad_${l} = (thread + ${l}u * THREADS) % STAGE_QUADS;
    let w_from_${l} = (params.first + min(tile_feature + w_line_${l}, params.count - 1u)) * params.quads + w_quad_${l};
    let w_to_${l} = X_TILE + w_quad_${l} * (4u * W_LINE + GAP) + w_line_${l} / 4u;
#end
#for i in 0..8
    var low_${i} = vec4(0.0);
    var high_${i} = vec4(0.0);
#end
    var current = 0u;
#if DOUBLE
#for l in 0..${X_LOADS}
    stage(x_to_${l}, x_line_${l} % 4u, X_LINE, centred[x_from_${l}]);
#end
#for l in 0..${W_LOADS}
    stage(w_to_${l}, w_line_${l} % 4u, W_LINE, w_enc[w_from_${l}]);
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
#for l in 0..${X_LOADS}
        let x_${l} = centred[x_from_${l} + next];
#end
#for l in 0..${W_LOADS}
        let w_${l} = w_enc[w_from_${l} + next];
#end
#if DOUBLE
#else
        workgroupBarrier();
#for l in 0..${X_LOADS}
        stage(x_to_${l}, x_line_${l} % 4u, X_LINE, x_${l});
#end
#for l in 0..${W_LOADS}
        stage(w_to_${l}, w_line_${l} % 4u, W_LINE, w_${l});
#end
        workgroupBarrier();
#end
#for k in 0..${DEPTH}
        {
            let x_at = current + ${k}u * X_LINE + ${k}u / 4u * GAP + row;
            let w_at = current + X_TILE + ${k}u * W_LINE + ${k}u / 4u * GAP + column;
            let w_low = staged[w_at];
            let w_high = staged[w_at + COLUMNS];
            let x_low = staged[x_at];
            let x_high = staged[x_at + ${ROWS}u / 8u];
#for i in 0..4
            low_${i} = fma(vec4(x_low[${i}]), w_low, low_${i});
            high_${i} = fma(vec4(x_low[${i}]), w_high, high_${i});
#end
#for i in 4..8
            low_${i} = fma(vec4(x_high[${i} - 4]), w_low, low_${i});
            high_${i} = fma(vec4(x_high[${i} - 4]), w_high, high_${i});
#end
        }
#end
#if DOUBLE
        current = STAGE - current;
#for l in 0..${X_LOADS}
        stage(current + x_to_${l}, x_line_${l} % 4u, X_LINE, x_${l});
#end
#for l in 0..${W_LOADS}
        stage(current + w_to_${l}, w_line_${l} % 4u, W_LINE, w_${l});
#end
        workgroupBarrier();
#end
    }
