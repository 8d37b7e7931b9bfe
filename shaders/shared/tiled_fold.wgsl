// The body of shaders/encode/tiled.wgsl: the dot products (rule D) of 8 rows and 4 + 4 features a thread, in low_i and high_i.
    let tile_row = group.y * TILE;
    let tile_feature = group.x * TILE;
    // Rows and features past the end repeat the last one: loaded, computed, never stored.
    let line = thread / 2u;
    let quad = thread % 2u;
    let x_line = min(tile_row + line, params.rows - 1u) * params.quads + quad;
    let w_line = (params.first + min(tile_feature + line, params.count - 1u)) * params.quads + quad;
    let column = thread % 16u;
    let row = thread / 16u;
#for i in 0..8
    var low_${i} = vec4(0.0);
    var high_${i} = vec4(0.0);
#end
    for (var at = 0u; at < params.quads; at += 2u) {
        let x_quad = centred[x_line + at];
        let w_quad = w_enc[w_line + at];
        workgroupBarrier();
#for k in 0..4
        x_tile[(quad * 4u + ${k}u) * LINE + line / 4u][line % 4u] = x_quad[${k}];
        w_tile[(quad * 4u + ${k}u) * LINE + line / 4u][line % 4u] = w_quad[${k}];
#end
        workgroupBarrier();
#for k in 0..8
        {
            let w_low = w_tile[${k}u * LINE + column];
            let w_high = w_tile[${k}u * LINE + 16u + column];
            let x_low = x_tile[${k}u * LINE + row];
            let x_high = x_tile[${k}u * LINE + 16u + row];
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
    }
