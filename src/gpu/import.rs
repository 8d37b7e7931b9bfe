//! `#import NAME` and `#include NAME` in WGSL files. Part of the build script.

/// The line at which a shader takes the arithmetic of one entry of a list.
pub const ENTRY: &str = "#import entry";

/// Replaces each `#import NAME` by the text that `read` gives for the name, its own imports resolved; a repeated import
/// is skipped, so that shared files may import each other's needs. `#include NAME` is replaced wherever it stands: it
/// is for the inner lines of functions. `#import entry` stays as it is.
pub fn resolve(source: &str, read: &impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    add(source, read, &mut Vec::new(), &mut text);
    text
}

fn add(source: &str, read: &impl Fn(&str) -> String, imported: &mut Vec<String>, text: &mut String) {
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("#include ") {
            add(&read(name.trim()), read, imported, text);
        } else if let Some(name) = line.strip_prefix("#import ").filter(|_| line.trim() != ENTRY) {
            if imported.iter().any(|known| known == name.trim()) {
                continue;
            }
            imported.push(name.trim().to_owned());
            add(&read(name.trim()), read, imported, text);
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
}

/// The text before and after `#import entry`, if there is such a line.
pub fn around_entry(text: &str) -> Option<[&str; 2]> {
    let at = text.lines().find(|line| line.trim() == ENTRY)?;
    let start = at.as_ptr() as usize - text.as_ptr() as usize;
    Some([&text[..start], &text[start + at.len()..]])
}

#[cfg(test)]
mod tests {
    use super::{around_entry, resolve};

    fn read(name: &str) -> String {
        match name {
            "a" => "// a\n#import b\n",
            "b" => "// b\n",
            _ => panic!("no {name}"),
        }
        .to_owned()
    }

    #[test]
    fn imports_are_made_once_in_order() {
        assert_eq!(resolve("x\n#import a\n#import b\ny\n#import a\n", &read), "x\n// a\n// b\n\n\ny\n");
        assert_eq!(resolve("#include b\n#include b\n", &read), "// b\n\n// b\n\n");
    }

    #[test]
    fn the_entry_has_a_place() {
        let text = resolve("#import b\n#import entry\nfn f() {}\n", &read);
        assert_eq!(around_entry(&text), Some(["// b\n\n", "\nfn f() {}\n"]));
        assert_eq!(around_entry("fn f() {}\n"), None);
    }
}
