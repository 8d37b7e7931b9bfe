use monosem::engine::{parameters::Parameters, planes::Planes, recipe::Recipe, stage::World, step::{StepInput, TrainingStep}, select::{Screening, Tuning}, state::*};
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::sae::{AuxK, AuxKForm, Sae, SaeConfig, TopK};
use safetensors::SafeTensors;
fn f(t: &SafeTensors, n: &str) -> Vec<f64> { let v = t.tensor(n).unwrap_or_else(|_| panic!("{n}")); match v.dtype() { safetensors::Dtype::U8 => v.data().iter().map(|b| *b as f64).collect(), safetensors::Dtype::F32 => v.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect(), _ => v.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect() } }
fn tr(m: &[f64], r: usize, c: usize) -> Vec<f64> { (0..r * c).map(|i| m[i % r * c + i / r]).collect() }
struct Sink(Vec<Vec<u8>>);
impl StateSink for Sink { fn offer(&mut self, t: Tile) -> monosem::Result<Option<Tile>> { self.put(t)?; Ok(None) } fn put(&mut self, t: Tile) -> monosem::Result<()> { self.0[t.tensor].extend(t.bytes); Ok(()) } }
struct Src(Vec<Vec<u8>>);
impl StateSource for Src { fn read(&mut self, t: usize, first: u64, b: &mut [u8]) -> monosem::Result<()> { let rows = self.0[t].len() as u64; let _ = rows; let w = if self.0[t].len() == b.len() { 0 } else { first as usize * (self.0[t].len() / 96) }; b.copy_from_slice(&self.0[t][w..w + b.len()]); Ok(()) } }
fn main() {
    let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
    for (file, rescale, aux) in [("topk", false, false), ("topk_rescaled", true, false), ("topk_auxk", false, true), ("topk_auxk_few_dead", false, true), ("topk_auxk_rescaled", true, true)] {
        let bytes = std::fs::read(format!("{}/{file}.safetensors", std::env::args().nth(1).unwrap())).unwrap();
        let t = SafeTensors::deserialize(&bytes).unwrap();
        let (d, n, b) = (24, 96, 40);
        let f32s = |v: Vec<f64>| v.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let auxk = aux.then(|| AuxK { coefficient: 1.0 / 32.0, ..AuxK::new(AuxKForm::SaeLens) });
        let config = SaeConfig { architecture: TopK { k: 6, rescale_acts_by_decoder_norm: rescale, auxk }.into(), ..SaeConfig::top_k(d, n, 6) };
        let sae = Sae { config: config.clone(), tensors: vec![f32s(tr(&f(&t, "init.W_enc"), d, n)), f32s(f(&t, "init.b_enc")), f32s(f(&t, "init.W_dec")), f32s(f(&t, "init.b_dec"))], provenance: Default::default() };
        let recipe = Recipe { clip: None, unit_norm_decoder: false, dead_window: 100 * b as u64, ..Recipe::top_k(1, b, 1000) };
        for method in monosem::engine::select::SelectionMethod::available(gpu.description(), Tuning::estimated(gpu.description(), &config, b, Screening::F32).encode, Screening::F16, monosem::engine::select::SelectionShape::new(&config, b)).into_iter().chain([monosem::engine::select::SelectionMethod::Chunked, monosem::engine::select::SelectionMethod::Grouped { group: 8 }]) {
            let p = Parameters::allocate(&gpu, &config, Planes::training(&config.describe())).unwrap();
            let tuning = Tuning { method, ..Tuning::estimated(gpu.description(), &config, b, Screening::F32) };
            let mut step = TrainingStep::new(&gpu, p, recipe.clone(), tuning, World::Solo).unwrap();
            step.fill(&gpu, &sae).unwrap();
            let names = state_tensors(&config, recipe.moments);
            let mut sink = Sink(vec![Vec::new(); names.len()]);
            step.copy_state(&gpu, &mut sink).unwrap();
            let at = names.iter().position(|s| s.name == "last_fired").unwrap();
            let mask = f(&t, "dead_mask");
            sink.0[at] = mask.iter().flat_map(|m| (if *m != 0.0 { 0u32 } else { 100 }).to_le_bytes()).collect();
            step.restore_state(&gpu, &mut Src(sink.0), 100).unwrap();
            let x = f32s(f(&t, "x"));
            let pending = step.submit(&gpu, StepInput { rows: &x[..b * d], learning_rate: 1e-3, variance: 1.0 }).unwrap();
            let r = step.results(&gpu, pending).unwrap();
            let loss: f64 = r.squared_errors.iter().map(|e| *e as f64).sum::<f64>() / b as f64;
            print!("{file} {} loss {:.6} {:?} want {:.6} ", step.forward().selector().method(), loss, r.losses, f(&t, "step0.loss")[0]);
            let mut sink = Sink(vec![Vec::new(); names.len()]);
            step.copy_state(&gpu, &mut sink).unwrap();
            for name in ["W_enc", "b_enc", "W_dec", "b_dec"] {
                let at = names.iter().position(|s| s.name == format!("{name}.m")).unwrap();
                let got: Vec<f64> = sink.0[at].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64 / 0.1).collect();
                let mut want = f(&t, &format!("step0.grad.{name}")); if name == "W_enc" { want = tr(&want, d, n); }
                let mag = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                let worst = got.iter().zip(&want).map(|(a, b)| (*a as f64 - b).abs()).fold(0.0, f64::max);
                print!(" {name} {:.1e}", worst / mag);
            }
            println!();
        }
    }
}
