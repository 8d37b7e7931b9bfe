//! Which adapter is taken, from what was found, what was asked for and what else the machine says: no hardware needed.

use std::fmt::Write as _;
use std::str::FromStr;

use super::cuda::{Visibility, visibility};
use super::description::pci_address;
use super::diagnose::explain_missing;
use super::{AdapterDescription, Environment};
use crate::error::{Error, Result};

/// Which adapter to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The one that [`rank`] takes.
    #[default]
    Best,
    /// The adapter at this place of [`crate::gpu::adapters`].
    Index(usize),
    /// The one GPU with this PCI bus id (`0000:01:00.0`, nvidia-smi's `00000000:01:00.0` or lspci's `01:00.0`), or
    /// whose name contains this text, case ignored.
    Named(String),
    /// The first software adapter.
    Cpu,
}

impl FromStr for AdapterChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match (text.trim(), text.trim().parse()) {
            ("", _) => Err("name a device: an index or PCI bus id of `monosem devices`, part of a name, or cpu"),
            (text, _) if text.eq_ignore_ascii_case("cpu") => Ok(Self::Cpu),
            (_, Ok(index)) => Ok(Self::Index(index)),
            (text, _) => Ok(Self::Named(text.to_owned())),
        }
    }
}

/// The adapter that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenAdapter {
    /// Its place in the list.
    pub index: usize,
    /// What whoever did not choose should know of the choice, a line each.
    pub notes: Vec<String>,
}

/// The choice between adapters where nobody made one.
#[derive(Debug)]
pub struct Ranking {
    /// The adapter that is taken, or why none is.
    pub selection: Result<ChosenAdapter>,
    /// Why each adapter is taken or not, in their order.
    pub reasons: Vec<String>,
}

/// Chooses an adapter.
///
/// # Errors
/// [`Error::NoDevice`] if none fits, [`Error::AmbiguousDevice`] if several do; for [`AdapterChoice::Best`] as [`rank`].
pub fn choose(
    found: &[AdapterDescription],
    choice: &AdapterChoice,
    environment: &Environment,
) -> Result<ChosenAdapter> {
    if found.is_empty() {
        return Err(no_device(explain_missing(found, environment), found));
    }
    let error = |problem: String| no_device(problem, found);
    let index = match choice {
        AdapterChoice::Best => return rank(found, environment).selection,
        AdapterChoice::Index(index) if *index < found.len() => *index,
        AdapterChoice::Index(index) => return Err(error(format!("there is no device {index}"))),
        AdapterChoice::Cpu => found
            .iter()
            .position(AdapterDescription::is_on_cpu)
            .ok_or_else(|| error("there is no software adapter".into()))?,
        AdapterChoice::Named(text) => match named(found, text)[..] {
            [only] => only,
            [] => return Err(error(format!("no device is called '{}'", text.escape_debug()))),
            ref fitting => {
                let fitting = fitting.iter().map(|at| line(found, *at)).collect();
                return Err(Error::AmbiguousDevice { name: text.escape_debug().to_string(), fitting });
            }
        },
    };
    Ok(ChosenAdapter { index, notes: Vec::new() })
}

/// The adapter that is taken where nobody chose: the first discrete GPU, else integrated, virtual or other.
///
/// - A software adapter is taken only if there is no sign of a GPU: neither an adapter nor a device node.
/// - NVIDIA's GPUs that `CUDA_VISIBLE_DEVICES` hides are passed over, and its order is kept. Where it cannot be told
///   which GPUs it means (an index among several, without `CUDA_DEVICE_ORDER=PCI_BUS_ID`; a MIG instance), none of
///   NVIDIA's is taken. An explicit choice is never held against the variable.
///
/// # Errors
/// [`Error::NoDevice`] in the choice, if there is no adapter, only software where the machine shows a GPU, or only
/// GPUs that `CUDA_VISIBLE_DEVICES` hides or may hide.
pub fn rank(found: &[AdapterDescription], environment: &Environment) -> Ranking {
    let first_of = |at: usize| (0..at).find(|other| same_gpu(&found[*other], &found[at]));
    let is_candidate = |at: &usize| !found[*at].is_on_cpu() && found[*at].lacks.is_none() && first_of(*at).is_none();
    let gpus: Vec<usize> = (0..found.len()).filter(is_candidate).collect();
    let (nvidia, others): (Vec<usize>, Vec<usize>) = gpus.iter().partition(|at| found[**at].is_nvidia());
    let visibility = visibility(found, &nvidia, environment);
    let candidates = match &visibility {
        Visibility::Only(visible) => [&visible[..], &others].concat(),
        Visibility::Unrestricted | Visibility::Unclear(_) => gpus.clone(),
    };
    let best = candidates.iter().copied().min_by_key(|at| found[*at].rank());
    let variable = format!(
        "CUDA_VISIBLE_DEVICES is '{}'",
        environment.variable("CUDA_VISIBLE_DEVICES").unwrap_or_default().escape_debug()
    );
    let take = |index, notes| Ok(ChosenAdapter { index, notes });
    let selection = match (best, &visibility) {
        (Some(best), Visibility::Unclear(reason)) if found[best].is_nvidia() => {
            Err(no_device(format!("{variable}, and {reason}; choose with --device"), found))
        }
        (Some(best), _) => take(best, notes(found, environment, &gpus, &candidates, best, &variable)),
        (None, _) if !gpus.is_empty() => {
            Err(no_device(format!("{variable} and hides every GPU; unset it, or choose with --device"), found))
        }
        (None, _) => match found.iter().position(AdapterDescription::is_on_cpu) {
            Some(software) if environment.device_nodes.is_empty() => {
                take(software, vec!["there is no GPU: everything runs on the CPU, slowly".into()])
            }
            _ => Err(no_device(explain_missing(found, environment), found)),
        },
    };
    let reason = |at: usize| {
        let taken = selection.as_ref().ok().map(|selection| selection.index);
        let adapter = &found[at];
        if taken == Some(at) {
            return "taken without --device".to_owned();
        } else if adapter.is_on_cpu() {
            return "software: only if there is no GPU, or by --device cpu".to_owned();
        } else if let Some(other) = first_of(at) {
            return format!("the same GPU as {other}");
        } else if adapter.lacks.is_some() {
            return "it lacks what the kernels need".to_owned();
        } else if !candidates.contains(&at) {
            return "hidden by CUDA_VISIBLE_DEVICES".to_owned();
        }
        match taken {
            None => "CUDA_VISIBLE_DEVICES does not tell whether it is meant".to_owned(),
            Some(taken) if found[taken].rank() == adapter.rank() => format!("as good as {taken}, which comes first"),
            Some(taken) => format!("{}: after {} ones", adapter.kind, found[taken].kind),
        }
    };
    let reasons = (0..found.len()).map(reason).collect();
    Ranking { selection, reasons }
}

fn notes(
    found: &[AdapterDescription],
    environment: &Environment,
    gpus: &[usize],
    candidates: &[usize],
    best: usize,
    variable: &str,
) -> Vec<String> {
    let mut notes = Vec::new();
    let equal = candidates.iter().filter(|at| found[**at].rank() == found[best].rank()).count();
    if equal > 1 {
        notes.push(format!(
            "{equal} GPUs are equally good: taking {}; choose with --device (`monosem devices` lists them)",
            line(found, best)
        ));
    }
    let hidden: Vec<_> = gpus.iter().filter(|at| !candidates.contains(at)).map(|at| line(found, *at)).collect();
    if !hidden.is_empty() {
        notes.push(format!("{variable} and hides {}", hidden.join("; ")));
    }
    let nvidia_node = environment.device_nodes.iter().find(|node| node.driver == "nvidia");
    if let Some(node) = nvidia_node.filter(|_| !gpus.iter().any(|at| found[*at].is_nvidia())) {
        notes.push(format!(
            "there is {}, but no adapter of NVIDIA's: is its Vulkan driver installed?",
            node.path.display()
        ));
    }
    notes
}

/// The places of the adapters that `text` names, each GPU once.
fn named(found: &[AdapterDescription], text: &str) -> Vec<usize> {
    let (address, text) = (pci_address(text), text.to_lowercase());
    let fits = |adapter: &AdapterDescription| match address {
        Some(_) => pci_address(&adapter.pci_bus_id) == address,
        None => adapter.name.to_lowercase().contains(&text),
    };
    let mut fitting: Vec<usize> = Vec::new();
    for at in (0..found.len()).filter(|at| fits(&found[*at])) {
        if !fitting.iter().any(|other| same_gpu(&found[*other], &found[at])) {
            fitting.push(at);
        }
    }
    fitting
}

/// Whether the later of two adapters is the earlier one's GPU once more: behind another API, or another driver.
fn same_gpu(earlier: &AdapterDescription, later: &AdapterDescription) -> bool {
    let same_place = !later.pci_bus_id.is_empty() && earlier.pci_bus_id == later.pci_bus_id;
    match earlier.backend == later.backend {
        // DX12 looks the bus id up by model, so that equal models share one.
        true => same_place && earlier.backend == "vulkan",
        false => same_place || earlier.name == later.name,
    }
}

/// An adapter on a line.
fn line(found: &[AdapterDescription], at: usize) -> String {
    let adapter = &found[at];
    let mut line = format!("{at}: {adapter}");
    if !adapter.pci_bus_id.is_empty() {
        let _ = write!(line, ", PCI {}", adapter.pci_bus_id);
    }
    line
}

fn no_device(problem: String, found: &[AdapterDescription]) -> Error {
    Error::NoDevice { problem, found: (0..found.len()).map(|at| line(found, at)).collect() }
}
