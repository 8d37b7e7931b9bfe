use monosem::gpu::*; use monosem::kernels::*; use monosem::sae::*; use monosem::train::*;
use std::collections::BTreeMap;
fn main(){
  let a:Vec<usize>=std::env::args().skip(1).map(|s|s.parse().unwrap()).collect();
  let (d,n,k,b)=(a[0],a[1],a[2],a[3]);
  let gpu=Gpu::open(&GpuOptions::default()).unwrap();
  let data=monosem::data::Activations::open(&["/work/shared/data/minilm-l3-train.safetensors".into()]).unwrap();
  let mut rows=vec![0f32;b*384]; data.read(&(0..b as u64).collect::<Vec<_>>(), &mut rows).unwrap();
  let rows:Vec<f32>= rows.chunks(384).flat_map(|r| r[..d].to_vec()).collect();
  let cfg=SaeConfig{d_in:d,features:n,k,rescale_acts_by_decoder_norm:false,apply_b_dec_to_input:true};
  let t=std::time::Instant::now();
  let sae=initialize(&cfg,0,&rows).unwrap(); println!("init {:?}",t.elapsed());
  let f=ForwardKernels::new(&gpu,k as u32).unwrap(); let bk=BackwardKernels::new(&gpu).unwrap(); println!("compiled {:?}",t.elapsed());
  let p=Parameters::upload(&gpu,&f.norms,&sae).unwrap();
  let mut s=TrainingStep::new(&gpu,(&f,&bk),p,Recipe::top_k(n,b,1000)).unwrap();
  for _ in 0..3 { let t=std::time::Instant::now(); let q=s.submit(&gpu,&rows,1e-4).unwrap(); s.results(&gpu,q).unwrap(); println!("step {:?}",t.elapsed()); }
  for _ in 0..2 { let mut m:BTreeMap<String,f64>=BTreeMap::new(); for (l,t) in gpu.profile(s.program()).unwrap(){*m.entry(l).or_default()+=t;} let tot:f64=m.values().sum(); println!("total {tot:.3}"); for (l,t) in m {println!("  {l:30} {:.1} ms",t*1e3);} }
}
