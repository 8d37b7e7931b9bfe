//! Which device is taken: every case without its hardware, and what the program prints of the one that is there.

use std::collections::BTreeSet;
use std::process::Command;

use monosem::Error;
use monosem::adapters::{AdapterChoice, AdapterDescription, DeviceNode, Environment, NvidiaGpu, choose, rank};
use monosem::gpu::{Gpu, adapters};
use monosem::kernels::EncodeVariant;
use serde_json::Value;

use crate::kernels::gpu;
use crate::program::cli::{monosem, program};

const NVIDIA: u32 = 0x10de;
const AMD: u32 = 0x1002;

fn adapter(name: &str, kind: &'static str, vendor: u32, pci_bus_id: &str) -> AdapterDescription {
    AdapterDescription {
        name: name.into(),
        kind,
        backend: "vulkan",
        vendor,
        driver: "a driver".into(),
        pci_bus_id: pci_bus_id.into(),
        max_binding_bytes: 1 << 30,
        max_buffer_bytes: 1 << 31,
        workgroup_bytes: 1 << 15,
        subgroup_size: Some(32),
        subgroup_sizes: Some((32, 32)),
        matrix_tile: None,
        matrix_shapes: Vec::new(),
        f16: true,
        unchecked: false,
        as_gpu: false,
        lacks: None,
        timestamps: true,
        memory: None,
    }
}

fn llvmpipe() -> AdapterDescription {
    AdapterDescription {
        subgroup_size: Some(8),
        subgroup_sizes: Some((8, 8)),
        ..adapter("llvmpipe", "software", 0x10005, "")
    }
}

/// Vulkan's order here is not that of the PCI bus.
fn two_h100s() -> Vec<AdapterDescription> {
    vec![
        adapter("NVIDIA H100", "discrete", NVIDIA, "0000:41:00.0"),
        adapter("NVIDIA H100", "discrete", NVIDIA, "0000:01:00.0"),
        llvmpipe(),
    ]
}

fn node(path: &str, driver: &str, refusal: Option<&str>) -> DeviceNode {
    DeviceNode { path: path.into(), driver: driver.into(), refusal: refusal.map(str::to_owned) }
}

fn bare() -> Environment {
    Environment { has_vulkan_loader: true, ..Default::default() }
}

fn with_nodes(nodes: &[DeviceNode]) -> Environment {
    Environment { device_nodes: nodes.to_vec(), ..bare() }
}

fn with_variables(variables: &[(&'static str, &str)]) -> Environment {
    Environment { variables: variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), ..bare() }
}

/// Index and notes of what is taken without --device.
fn best(found: &[AdapterDescription], environment: &Environment) -> Result<(usize, String), String> {
    match choose(found, &AdapterChoice::Best, environment) {
        Ok(selection) => Ok((selection.index, selection.notes.join("\n"))),
        Err(error) => {
            assert_eq!(error.exit_code(), 4, "{error}");
            Err(error.to_string())
        }
    }
}

fn named(found: &[AdapterDescription], text: &str) -> Result<usize, String> {
    let choice: AdapterChoice = text.parse().unwrap();
    choose(found, &choice, &bare()).map(|selection| selection.index).map_err(|error| error.to_string())
}

/// Asserts that each of `words` is part of `text`.
#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "'{word}' is missing: {text}");
    }
}

#[test]
fn a_device_that_cannot_run_the_kernels_is_passed_over() {
    let lacks = Some("4 storage buffers per shader where 8 are needed".to_owned());
    let phone = AdapterDescription { lacks, ..adapter("Mali", "discrete", 0x13b5, "") };
    let found = [phone.clone(), adapter("Intel UHD", "integrated", 0x8086, "0000:00:02.0")];
    assert_eq!(best(&found, &bare()), Ok((1, String::new())));
    assert_eq!(rank(&found, &bare()).reasons[0], "it lacks what the kernels need");
    let (index, note) = best(&[phone, llvmpipe()], &bare()).unwrap();
    assert_eq!(index, 1);
    assert_says(&note, &["there is no GPU"]);
}

#[test]
fn the_best_kind_is_taken_and_the_first_of_equals() {
    let found = [
        llvmpipe(),
        adapter("Intel UHD", "integrated", 0x8086, "0000:00:02.0"),
        adapter("Radeon RX", "discrete", AMD, "0000:03:00.0"),
        adapter("Radeon Pro", "discrete", AMD, "0000:04:00.0"),
    ];
    assert_eq!(best(&found[..2], &bare()), Ok((1, String::new())));
    assert_eq!(best(&found[..3], &bare()), Ok((2, String::new())));
    let (index, note) = best(&found, &bare()).unwrap();
    assert_eq!(index, 2);
    assert_says(&note, &["2 GPUs are equally good", "2: Radeon RX", "0000:03:00.0", "--device"]);
    assert_eq!(
        rank(&found, &bare()).reasons,
        [
            "software: only if there is no GPU, or by --device cpu",
            "integrated: after discrete ones",
            "taken without --device",
            "as good as 2, which comes first",
        ]
    );
}

#[test]
fn a_gpu_behind_two_drivers_or_apis_is_one_gpu() {
    let vulkan = adapter("NVIDIA RTX 4090", "discrete", NVIDIA, "0000:01:00.0");
    let dx12 = AdapterDescription { backend: "dx12", ..vulkan.clone() };
    let without_bus_id = AdapterDescription { pci_bus_id: String::new(), ..dx12.clone() };
    let other_driver = AdapterDescription { name: "NVK AD102".into(), ..vulkan.clone() };
    for other in [dx12, without_bus_id, other_driver] {
        let found = [vulkan.clone(), other];
        assert_eq!(best(&found, &bare()), Ok((0, String::new())));
        assert_eq!(rank(&found, &bare()).reasons[1], "the same GPU as 0");
        assert_eq!(named(&found, "1:0.0"), Ok(0));
    }
    // DX12 gives equal models the bus id of one of them.
    let dx12 = [(); 2].map(|()| AdapterDescription { backend: "dx12", ..vulkan.clone() });
    assert_says(&best(&dx12, &bare()).unwrap().1, &["2 GPUs are equally good"]);
}

#[test]
fn a_device_is_named_by_index_bus_id_or_part_of_a_name() {
    let mut found = two_h100s();
    found.push(adapter("NVIDIA RTX 4090", "discrete", NVIDIA, "0001:c1:00.0"));
    for (text, index) in [
        ("1", 1),
        ("0000:01:00.0", 1),
        ("00000000:41:00.0", 0),
        ("01:00.0", 1),
        ("0001:C1:00.0", 3),
        (" rtx ", 3),
        ("x 4090", 3),
        ("cpu", 2),
        ("CPU", 2),
        ("LLVM", 2),
    ] {
        assert_eq!(named(&found, text), Ok(index), "{text}");
    }
    for (text, words) in [
        ("h100", &["'h100' fits several devices", "0: NVIDIA H100", "1: NVIDIA H100", "0000:41:00.0"][..]),
        ("4", &["there is no device 4", "3: NVIDIA RTX 4090"]),
        ("c1:00.0", &["no device is called 'c1:00.0'"]),
        ("99999999999999999999999", &["no device is called '99999999999999999999999'"]),
        ("a\u{1b}[31m", &["no device is called 'a\\u{1b}[31m'"]),
    ] {
        assert_says(&named(&found, text).unwrap_err(), words);
    }
    assert_says(&named(&found[..2], "cpu").unwrap_err(), &["there is no software adapter", "0: NVIDIA H100"]);
    assert!("".parse::<AdapterChoice>().is_err() && " ".parse::<AdapterChoice>().is_err());
}

#[test]
fn software_is_taken_only_where_there_is_no_sign_of_a_gpu() {
    let found = [llvmpipe()];
    let (index, note) = best(&found, &bare()).unwrap();
    assert_eq!((index, note.contains("on the CPU")), (0, true), "{note}");
    for (node, words) in [
        (node("/dev/nvidia0", "nvidia", None), &["/dev/nvidia0", "nvidia_icd.json", "NVIDIA_DRIVER_CAPABILITIES"][..]),
        (node("/dev/dri/renderD128", "amdgpu", None), &["/dev/dri/renderD128", "amdgpu", "mesa-vulkan-drivers"]),
        (node("/dev/dri/renderD128", "", None), &["/dev/dri/renderD128", "VK_LOADER_DEBUG"]),
        (
            node("/dev/dri/renderD128", "amdgpu", Some("Permission denied (os error 13)")),
            &["/dev/dri/renderD128 cannot be opened: Permission denied", "usermod -aG render"],
        ),
    ] {
        let environment = with_nodes(std::slice::from_ref(&node));
        let message = best(&found, &environment).unwrap_err();
        assert_says(&message, words);
        assert_says(&message, &["`--device cpu` runs on the CPU"]);
        assert_eq!(message.contains("cannot be opened"), node.refusal.is_some(), "{message}");
        assert_eq!(choose(&found, &AdapterChoice::Cpu, &environment).unwrap().index, 0);
        assert_eq!(choose(&found, &AdapterChoice::Index(0), &environment).unwrap().notes, [""; 0]);
    }
}

#[test]
fn only_causes_that_the_facts_bear_out_are_named() {
    let found = [llvmpipe()];
    let environment = Environment {
        variables: vec![
            ("VK_DRIVER_FILES", "/lvp\n.json".into()),
            ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility".into()),
        ],
        ..with_nodes(&[node("/dev/nvidia0", "nvidia", None)])
    };
    let message = best(&found, &environment).unwrap_err();
    assert_says(&message, &["VK_DRIVER_FILES is '/lvp\\n.json'", "NVIDIA_DRIVER_CAPABILITIES is 'compute,utility'"]);
    assert!(!message.contains("libvulkan.so.1") && !message.contains("VK_ICD_FILENAMES"), "{message}");

    let manifest = "/usr/share/vulkan/icd.d/nvidia_icd.json".into();
    let with_manifest = Environment { driver_manifests: vec![manifest], variables: vec![], ..environment.clone() };
    let message = best(&found, &with_manifest).unwrap_err();
    assert!(!message.contains("nvidia_icd.json") && message.contains("VK_LOADER_DEBUG"), "{message}");

    let nothing = Environment { has_vulkan_loader: false, variables: vec![], ..environment };
    assert_says(&best(&[], &nothing).unwrap_err(), &["/dev/nvidia0", "libvulkan.so.1", "libvulkan1"]);
    assert_says(&best(&[], &bare()).unwrap_err(), &["no Vulkan, Metal or DX12 adapter was found", "install"]);
}

#[test]
fn what_cuda_visible_devices_hides_is_not_taken() {
    let found = two_h100s();
    let by_bus = |value| with_variables(&[("CUDA_VISIBLE_DEVICES", value), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID")]);
    for (value, index) in [("0", 1), ("1", 0), ("0,1", 1), ("1,0", 0), (" 1 , 7, 0", 0), ("1,-1,0", 0)] {
        assert_eq!(best(&found, &by_bus(value)).unwrap().0, index, "{value}");
    }
    let ranking = rank(&found, &by_bus("0"));
    assert_eq!(ranking.reasons[0], "hidden by CUDA_VISIBLE_DEVICES");
    assert_says(&ranking.selection.unwrap().notes[0], &["CUDA_VISIBLE_DEVICES is '0' and hides 0: NVIDIA H100"]);
    for value in ["", "-1", " ", "NoDevFiles", "2", "-1,0"] {
        for count in [1, 2] {
            let found = [&found[..count], &[llvmpipe()]].concat();
            let message = best(&found, &by_bus(value)).unwrap_err();
            assert_says(&message, &["hides every GPU", "--device"]);
            // Whoever chooses is not held back.
            assert_eq!(choose(&found, &AdapterChoice::Index(0), &by_bus(value)).unwrap().index, 0);
        }
    }
    // Another maker's GPU is none of CUDA's business.
    let found = [&found[..2], &[adapter("Radeon", "integrated", AMD, "0000:05:00.0")]].concat();
    let (index, note) = best(&found, &by_bus("")).unwrap();
    assert_eq!(index, 2);
    assert_says(&note, &["hides 0: NVIDIA H100", "1: NVIDIA H100"]);
    assert_eq!(best(&found[2..], &by_bus("")), Ok((0, String::new())));
}

#[test]
fn an_index_that_cuda_alone_understands_is_refused() {
    let found = two_h100s();
    let fastest_first = |value| with_variables(&[("CUDA_VISIBLE_DEVICES", value)]);
    for value in ["0", "1", "1,9"] {
        let message = best(&found, &fastest_first(value)).unwrap_err();
        assert_says(
            &message,
            &["CUDA_VISIBLE_DEVICES is", "CUDA_DEVICE_ORDER=PCI_BUS_ID", "--device", "1: NVIDIA H100"],
        );
    }
    assert_says(&best(&found, &fastest_first("MIG-8932f937")).unwrap_err(), &["MIG"]);
    // All are listed, or there is but one: the order does not matter.
    assert_eq!(best(&found, &fastest_first("1,0")).unwrap().0, 0);
    assert_eq!(best(&found[1..], &fastest_first("0")).unwrap().0, 0);
    // A better GPU of another maker is taken all the same.
    let integrated = adapter("NVIDIA Tegra", "integrated", NVIDIA, "0000:01:00.0");
    let found = [integrated.clone(), integrated, adapter("Radeon", "discrete", AMD, "0000:05:00.0")];
    assert_eq!(best(&found, &fastest_first("1")).unwrap().0, 2);
}

#[test]
fn an_index_counts_gpus_that_vulkan_may_not_show() {
    let found = &two_h100s()[..1];
    let facts = |refusals: [Option<&str>; 2]| Environment {
        variables: vec![("CUDA_VISIBLE_DEVICES", "0".into()), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID".into())],
        ..with_nodes(&[
            node("/dev/nvidia0", "nvidia", refusals[0]),
            node("/dev/nvidia1", "nvidia", refusals[1]),
            node("/dev/dri/renderD128", "nvidia", None),
        ])
    };
    assert_says(&best(found, &facts([None, None])).unwrap_err(), &["Vulkan shows 1 of NVIDIA's GPUs, and 2"]);
    // A batch system's job: all nodes are there, one can be opened, and CUDA counts that one alone.
    assert_eq!(best(found, &facts([Some("Operation not permitted"), None])).unwrap().0, 0);
}

#[test]
fn uuids_are_looked_up() {
    let found = two_h100s();
    let gpu = |pci_bus_id: &str, uuid: &str| NvidiaGpu { pci_bus_id: pci_bus_id.into(), uuid: uuid.into() };
    let facts = |value| Environment {
        nvidia_gpus: vec![gpu("0000:01:00.0", "GPU-8932f937-d72c"), gpu("0000:41:00.0", "GPU-1234abcd-0000")],
        ..with_variables(&[("CUDA_VISIBLE_DEVICES", value)])
    };
    for (value, index) in [("GPU-8932f937-d72c", 1), ("GPU-1234", 0), ("GPU-1234,GPU-8932F937", 0)] {
        assert_eq!(best(&found, &facts(value)).unwrap().0, index, "{value}");
    }
    assert_says(&best(&found, &facts("GPU-ffff")).unwrap_err(), &["no GPU with that UUID", "--device"]);
}

#[test]
fn another_gpu_in_place_of_nvidias_is_told() {
    let found = [adapter("Intel UHD", "integrated", 0x8086, ""), llvmpipe()];
    let (index, note) = best(&found, &with_nodes(&[node("/dev/nvidia0", "nvidia", None)])).unwrap();
    assert_eq!(index, 0);
    assert_says(&note, &["/dev/nvidia0", "no adapter of NVIDIA's"]);
}

#[test]
fn variants_follow_from_the_description() {
    let names = |adapter: &AdapterDescription| -> Vec<String> {
        EncodeVariant::available(adapter).iter().map(EncodeVariant::to_string).collect()
    };
    let with_memory = |workgroup_bytes| AdapterDescription { workgroup_bytes, subgroup_size: None, ..llvmpipe() };
    let software = names(&AdapterDescription { workgroup_bytes: 32 << 10, ..llvmpipe() });
    assert_eq!(software[..4], ["subgroup-8x16", "subgroup-8x32", "subgroup-8x64", "tiled-128x128x16"]);
    assert_eq!(names(&two_h100s()[0]), ["tiled-128x128x16", "tiled-128x128x16-double"]);
    // Intel's compilers spill in the usual one.
    let intel = adapter("Intel Arc", "discrete", 0x8086, "");
    assert_eq!(names(&intel), ["tiled-128x128x16-rolled", "tiled-128x128x16"]);
    // What no adapter lacks, what NVIDIA's have, and nothing known.
    assert_eq!(names(&with_memory(16 << 10)), ["tiled-128x128x16", "tiled-128x128x16-rolled"]);
    assert_eq!(names(&with_memory(48 << 10)).len(), 3);
    assert_eq!(names(&with_memory(0)), names(&with_memory(16 << 10)));
    let all = EncodeVariant::all();
    let different: BTreeSet<String> = all.iter().map(EncodeVariant::to_string).collect();
    assert_eq!(different.len(), all.len());
}

#[test]
fn devices_are_opened_as_they_are_chosen() {
    let all = adapters().unwrap();
    // What memory is available is another number from one moment to the next.
    let known = |adapter: &AdapterDescription| AdapterDescription { memory: None, ..adapter.clone() };
    assert_eq!(known(Gpu::open(&AdapterChoice::Index(0)).unwrap().description()), known(&all[0]));
    let Err(Error::NoDevice { found, .. }) = Gpu::open(&AdapterChoice::Index(99)) else { panic!() };
    assert!(found[0].contains(&all[0].name));
    if gpu().description().is_on_cpu() {
        assert_eq!(Gpu::open(&AdapterChoice::Cpu).unwrap().notes(), [""; 0]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_adapters_is_exit_4_with_the_cure() {
    for command in ["devices", "selftest"] {
        let output = Command::new(program()).arg(command).env("VK_DRIVER_FILES", "/nonexistent").output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{command}: {message}");
        assert_says(&message, &["VK_DRIVER_FILES is '/nonexistent'", "mesa-vulkan-drivers"]);
    }
}

#[test]
fn a_device_that_is_not_there_is_exit_4_and_none_at_all_exit_2() {
    for (device, code, words) in [
        ("no such device", 4, "no device is called 'no such device'"),
        ("99", 4, "there is no device 99"),
        ("ffff:ff:1f.7", 4, "no device is called"),
        (" ", 2, "name a device"),
        ("", 2, "--device"),
    ] {
        let output = monosem(&["selftest", "--device", device]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "'{device}': {message}");
        assert!(message.contains(words), "'{device}': {message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_list_has_a_line_of_json_an_adapter() {
    let output = monosem(&["devices", "--json"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = adapters().unwrap();
    let (last, lines) = lines.split_last().unwrap();
    assert_eq!((lines.len(), &last["devices"]), (all.len(), &all.len().into()));
    for (index, (line, adapter)) in lines.iter().zip(&all).enumerate() {
        assert_eq!(line["index"], index);
        assert_eq!(line["name"], adapter.name);
        assert_eq!(line["max_binding_bytes"], adapter.max_binding_bytes);
        assert_eq!(line["encode"], EncodeVariant::best(adapter).to_string());
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
    }
    let taken = lines.iter().position(|line| line["taken"] == true);
    assert_eq!(last["taken"].as_u64(), taken.map(|taken| taken as u64));
    assert_eq!(taken, rank(&all, &Environment::read()).selection.ok().map(|selection| selection.index));
}
