//! The directives that a WGSL file may hold besides WGSL, the first three on lines of their own. Part of the build
//! script.
//!
//! - `#define NAME 8` gives a whole number a name and its default, which the caller may override;
//! - `#for i in A..B` ... `#end` repeats the lines between, with `${i}` replaced (loops may be nested);
//! - `#if NAME` .. `#else` .. `#end` keeps the lines of its first part where the number is not 0, else those of its
//!   second, which may be left out;
//! - `${NAME}` is replaced by the number, `${NAME+1}` by its sum with another.
//!
//! Unrolled text instead of arrays and loops, because drivers keep named variables in registers and arrays often not.

use std::collections::HashMap;

/// The WGSL text of a template under `overrides` of its defaults.
///
/// # Errors
/// A message with the line number: an unknown directive or name, a loop without its end, or an override of a name
/// that the template does not define.
pub fn expand(template: &str, overrides: &[(&str, u32)]) -> Result<String, String> {
    let mut names: HashMap<String, u32> = HashMap::new();
    let lines: Vec<(usize, &str)> = template.lines().enumerate().collect();
    for &(number, line) in &lines {
        if let Some(definition) = line.trim().strip_prefix("#define ") {
            let (name, default) =
                definition.split_once(' ').ok_or(format!("line {}: #define NAME NUMBER", number + 1))?;
            let default =
                default.trim().parse().map_err(|_| format!("line {}: '{default}' is no number", number + 1))?;
            names.insert(name.to_owned(), default);
        }
    }
    for &(name, value) in overrides {
        *names.get_mut(name).ok_or(format!("no #define {name}"))? = value;
    }
    let mut text = String::with_capacity(template.len());
    expand_lines(&lines, &mut names, &mut text)?;
    Ok(text)
}

fn expand_lines(lines: &[(usize, &str)], names: &mut HashMap<String, u32>, text: &mut String) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        let (number, line) = lines[at];
        let directive = line.trim();
        if let Some(header) = directive.strip_prefix("#for ") {
            let end = matching_end(lines, at).ok_or(format!("line {}: #for without #end", number + 1))?;
            let (name, range) = header.split_once(" in ").ok_or(format!("line {}: #for NAME in A..B", number + 1))?;
            let (first, last) = range.split_once("..").ok_or(format!("line {}: #for NAME in A..B", number + 1))?;
            let bound = |bound: &str| {
                let bound = substitute(bound.trim(), names, number)?;
                bound.parse::<u32>().map_err(|_| format!("line {}: '{bound}' is no number", number + 1))
            };
            let (first, last) = (bound(first)?, bound(last)?);
            for value in first..last {
                names.insert(name.to_owned(), value);
                expand_lines(&lines[at + 1..end], names, text)?;
            }
            names.remove(name);
            at = end;
        } else if let Some(name) = directive.strip_prefix("#if ") {
            let end = matching_end(lines, at).ok_or(format!("line {}: #if without #end", number + 1))?;
            let value = names.get(name).ok_or(format!("line {}: unknown name '{name}'", number + 1))?;
            let otherwise = matching_else(lines, at, end).unwrap_or(end);
            let chosen = if *value != 0 { at + 1..otherwise } else { (otherwise + 1).min(end)..end };
            expand_lines(&lines[chosen], names, text)?;
            at = end;
        } else if directive == "#end" || directive == "#else" {
            return Err(format!("line {}: {directive} without its beginning", number + 1));
        } else if directive.starts_with('#') && !directive.starts_with("#define ") {
            return Err(format!("line {}: unknown directive '{directive}'", number + 1));
        } else if !directive.starts_with('#') {
            text.push_str(&substitute(line, names, number)?);
            text.push('\n');
        }
        at += 1;
    }
    Ok(())
}

fn matching_end(lines: &[(usize, &str)], start: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, (_, line)) in lines.iter().enumerate().skip(start) {
        match line.trim() {
            "#end" => depth -= 1,
            line if line.starts_with("#for ") || line.starts_with("#if ") => depth += 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The `#else` that belongs to the `#if` at `start`.
fn matching_else(lines: &[(usize, &str)], start: usize, end: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < end {
        match lines[at].1.trim() {
            "#else" => return Some(at),
            line if line.starts_with("#for ") || line.starts_with("#if ") => at = matching_end(lines, at)?,
            _ => {}
        }
        at += 1;
    }
    None
}

fn substitute(line: &str, names: &HashMap<String, u32>, number: usize) -> Result<String, String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("${") {
        let length = rest[start..].find('}').ok_or(format!("line {}: '${{' without '}}'", number + 1))?;
        let sum = &rest[start + 2..start + length];
        let (name, addend) = sum.split_once('+').unwrap_or((sum, "0"));
        let addend = addend.parse::<u32>().map_err(|_| format!("line {}: '{addend}' is no number", number + 1))?;
        let value = names.get(name).ok_or(format!("line {}: unknown name '{name}'", number + 1))?;
        let value = value.checked_add(addend).ok_or(format!("line {}: '{sum}' is too large", number + 1))?;
        text.push_str(&rest[..start]);
        text.push_str(&value.to_string());
        rest = &rest[start + length + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn loops_and_names_are_replaced() {
        let template = "#define N 2\n#for i in 0..${N}\n #for j in ${i}..2\n let a_${i}_${j} = ${N}u;\n #end\n#end\n";
        assert_eq!(expand(template, &[]).unwrap(), " let a_0_0 = 2u;\n let a_0_1 = 2u;\n let a_1_1 = 2u;\n");
        assert_eq!(expand(template, &[("N", 1)]).unwrap(), " let a_0_0 = 1u;\n let a_0_1 = 1u;\n");
        let sums = "#define N 2\n#for i in ${N+1}..${N+3}\n${i}-${i+10}-${N+0}\n#end\n";
        assert_eq!(expand(sums, &[]).unwrap(), "3-13-2\n4-14-2\n");
    }

    #[test]
    fn conditions_choose_lines() {
        let template = "#define X 0\n#if X\na\n#for i in 0..2\n${i}\n#end\n#else\nb\n#if X\nc\n#end\n#end\nd\n";
        assert_eq!(expand(template, &[]).unwrap(), "b\nd\n");
        assert_eq!(expand(template, &[("X", 3)]).unwrap(), "a\n0\n1\nd\n");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (template, message) in [
            ("a\n#for i in 0..2\n", "line 2: #for without #end"),
            ("#end", "line 1: #end without its beginning"),
            ("#for i in 0..2\n#else\n#end", "line 2: #else without its beginning"),
            ("#if X\n#end", "line 1: unknown name 'X'"),
            ("#define X 1\n#if X\n", "line 2: #if without #end"),
            ("${X}", "line 1: unknown name 'X'"),
            ("\n#ifdef A", "line 2: unknown directive '#ifdef A'"),
            ("#define A b", "line 1: 'b' is no number"),
            ("#define A 1\n${A+b}", "line 2: 'b' is no number"),
            ("#define A 4294967295\n${A+1}", "line 2: 'A+1' is too large"),
        ] {
            assert_eq!(expand(template, &[]).unwrap_err(), message);
        }
        assert_eq!(expand("", &[("A", 1)]).unwrap_err(), "no #define A");
    }
}
