//! How often features fire, for people and for programs.

use monosem::Result;
use monosem::sae::FeatureDensity;
use serde_json::{Value, json};

use super::output::print;

/// The longest bar.
const BAR: usize = 40;

/// Edges of the bins of log10 of the density, features of each bin, and features that never fired.
pub fn density_json(density: &FeatureDensity) -> Value {
    json!({
        "log10_edges": density.fired.edges,
        "features": density.fired.counts,
        "unfired": density.unfired,
    })
}

/// Prints the bins between the rarest feature and the most frequent one.
pub fn print_density(density: &FeatureDensity) -> Result<()> {
    let FeatureDensity { unfired, fired } = density;
    let most = fired.counts.iter().chain([unfired]).max().copied().unwrap_or(0);
    let bar = |features: u64| "#".repeat((features as f64 / most as f64 * BAR as f64).ceil() as usize);
    let line = |bin: &str, features: u64| print(format!("{bin:16}  {features:>10}  {}", bar(features)).trim_end());
    print("")?;
    print("log10 density      features")?;
    line("never fired", *unfired)?;
    let occupied = |features: &u64| *features > 0;
    let Some(first) = fired.counts.iter().position(occupied) else { return Ok(()) };
    let last = fired.counts.iter().rposition(occupied).unwrap_or(first);
    for bin in first..=last {
        let name = format!("{:.2} to {:.2}", fired.edges[bin], fired.edges[bin + 1]);
        line(&name, fired.counts[bin])?;
    }
    Ok(())
}
