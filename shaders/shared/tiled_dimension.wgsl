// One dimension of a stage, for tiled_fold.wgsl, from its vectors at x_at and w_at.
#for h in 0..2
            let w_${h} = staged[w_at + ${h}u * COLUMNS];
#end
            let x_low = staged[x_at];
            let x_high = staged[x_at + ROWS / 8u];
#for h in 0..2
#for i in 0..4
            sum_${h}_${i} = fma(vec4(x_low[${i}]), w_${h}, sum_${h}_${i});
#end
#for i in 4..8
            sum_${h}_${i} = fma(vec4(x_high[${i} - 4]), w_${h}, sum_${h}_${i});
#end
#end
