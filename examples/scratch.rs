use monosem::engine::{parameters::Parameters, planes::{Plane, Planes}, recipe::Recipe, stage::World, step::{StepInput, TrainingStep}, select::usual_tuning};
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::kernels::Screening;
use monosem::sae::{Sae, SaeConfig};
use safetensors::SafeTensors;
fn f(t: &SafeTensors, n: &str) -> Vec<f64> { let v = t.tensor(n).unwrap_or_else(|_| panic!("{n}")); match v.dtype() { safetensors::Dtype::F32 => v.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect(), _ => v.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect() } }
fn tr(m: &[f64], r: usize, c: usize) -> Vec<f64> { (0..r * c).map(|i| m[i % r * c + i / r]).collect() }
fn main() {
    let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
    let bytes = std::fs::read("tests/vectors/topk.safetensors").unwrap();
    let t = SafeTensors::deserialize(&bytes).unwrap();
    let (d, n, b) = (24, 96, 40);
    let f32s = |v: Vec<f64>| v.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let config = SaeConfig::top_k(d, n, 6);
    let sae = Sae { config: config.clone(), tensors: vec![f32s(tr(&f(&t, "init.W_enc"), d, n)), f32s(f(&t, "init.b_enc")), f32s(f(&t, "init.W_dec")), f32s(f(&t, "init.b_dec"))], provenance: Default::default() };
    let recipe = Recipe { clip: None, unit_norm_decoder: false, ..Recipe::top_k(1, b, 100) };
    let p = Parameters::allocate(&gpu, &config, Planes::training(&config.describe())).unwrap();
    let tuning = usual_tuning(&config, gpu.description(), b, Screening::Auto);
    let mut step = TrainingStep::new(&gpu, p, recipe, tuning, World::Solo).unwrap();
    step.fill(&gpu, &sae).unwrap();
    let x = f32s(f(&t, "x"));
    for s in 0..3 {
        let pending = step.submit(&gpu, StepInput { rows: &x[s * b * d..(s + 1) * b * d], learning_rate: 1e-3, variance: 1.0 }).unwrap();
        let r = step.results(&gpu, pending).unwrap();
        let loss: f64 = r.squared_errors.iter().map(|e| *e as f64).sum::<f64>() / b as f64;
        println!("step {s}: loss {loss} want {} norm {} dead {}", f(&t, &format!("step{s}.loss"))[0], r.gradient_norm, r.dead);
        let now = Sae::read(&step.parameters().weights(&gpu, Default::default())).unwrap();
        for (name, got) in ["W_enc", "b_enc", "W_dec", "b_dec"].iter().zip(&now.tensors) {
            let mut want = f(&t, &format!("step{s}.after.{name}")); if *name == "W_enc" { want = tr(&want, d, n); }
            let mag = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let worst = got.iter().zip(&want).map(|(a, b)| (*a as f64 - b).abs()).fold(0.0, f64::max);
            println!("   {name}: {:.1e}", worst / mag);
        }
    }
}
