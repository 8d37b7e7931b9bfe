// The body of shaders/encode/subgroup.wgsl: adds to sum_i_j the dot product (rule D) of the row whose element of this
// lane is at row_i and the encoder row at line_j.
    for (var at = 0u; at < params.quads; at += ${LANE_QUADS}u) {
#for i in 0..${ROWS}
        let x_${i} = centred[row_${i} + at * 4u];
#end
#for h in 0..${LANE_QUADS}
#for j in 0..${GROUPS}
        let w_${h}_${j} = w_enc[line_${j} + at + ${h}u];
#end
#for i in 0..${ROWS}
#for c in 0..4
        let x_${i}_${h}_${c} = subgroupBroadcast(x_${i}, ${h}u * 4u + ${c}u);
#end
#for j in 0..${GROUPS}
#for c in 0..4
        sum_${i}_${j} = fma(x_${i}_${h}_${c}, w_${h}_${j}[${c}], sum_${i}_${j});
#end
#end
#end
#end
    }
