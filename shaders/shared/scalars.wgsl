// Needs the globals `scalars`, planes of [count] words, and `params.count`, the features of the shard.
#import planes

fn word(plane: u32, feature: u32) -> u32 {
    return scalars[plane * params.count + feature];
}

fn scalar(plane: u32, feature: u32) -> f32 {
    return bitcast<f32>(scalars[plane * params.count + feature]);
}
