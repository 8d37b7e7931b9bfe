//! Who bounds the accesses of shaders to buffers: the driver as well, or the kernels alone.

use std::env;
use std::str::FromStr;

use super::AdapterDescription;
use crate::error::{Error, Result};

/// The environment variable that chooses.
const VARIABLE: &str = "MONOSEM_BOUNDS_CHECKS";

/// Whether a device is opened with the driver's bounds checks. No result depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BoundsChecks {
    /// With them, on every adapter.
    Driver,
    /// Without them where compilers show that they cost time, on NVIDIA's GPUs under Vulkan, if such a device opens.
    #[default]
    Auto,
    /// Without them on every adapter of Vulkan's, or not at all.
    None,
}

impl FromStr for BoundsChecks {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::default()),
            "auto" => Ok(Self::Auto),
            "driver" => Ok(Self::Driver),
            "none" => Ok(Self::None),
            other => {
                Err(Error::Config(format!("{VARIABLE} is '{}': it takes driver, auto or none", other.escape_debug())))
            }
        }
    }
}

impl BoundsChecks {
    /// What MONOSEM_BOUNDS_CHECKS says.
    ///
    /// # Errors
    /// [`Error::Config`] if it is none of the three.
    pub fn read() -> Result<Self> {
        env::var_os(VARIABLE).unwrap_or_default().to_string_lossy().parse()
    }

    /// Whether this adapter is to be opened without them.
    pub fn are_left_out(self, adapter: &AdapterDescription) -> bool {
        adapter.backend == "vulkan"
            && match self {
                Self::Auto => adapter.is_nvidia(),
                Self::Driver => false,
                Self::None => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_left_out_of_nvidias_gpus_under_vulkan_unless_said_otherwise() {
        let adapter = |vendor, backend| AdapterDescription { vendor, backend, ..Default::default() };
        let [nvidia, amd, dx12] = [adapter(0x10de, "vulkan"), adapter(0x1002, "vulkan"), adapter(0x10de, "dx12")];
        let auto = [true, false, false];
        for (text, expected) in [("", auto), ("auto", auto), ("driver", [false; 3]), ("none", [true, true, false])] {
            let checks: BoundsChecks = text.parse().unwrap();
            assert_eq!([&nvidia, &amd, &dx12].map(|adapter| checks.are_left_out(adapter)), expected, "{text}");
        }
        let refusal = "off\n".parse::<BoundsChecks>().unwrap_err();
        assert_eq!(refusal.to_string(), "MONOSEM_BOUNDS_CHECKS is 'off\\n': it takes driver, auto or none");
        assert_eq!(refusal.exit_code(), 2);
    }
}
