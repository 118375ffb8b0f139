//! Where instructions go: by function, and by the calls that led there.

use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use crate::Image;
use crate::code::Cost;
use crate::cpu::Block;

/// What one function took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionCount {
    /// Its name.
    pub name: String,
    /// Instructions executed in it, without the functions that it calls.
    pub instructions: u64,
    /// Estimate of the cycles that they took on a Cortex-M4. See [the crate](crate#cycles).
    pub estimated_cycles: u64,
}

/// Sums up blocks by function, the largest first.
pub(crate) fn by_function(image: &Image, blocks: &[Block]) -> Vec<FunctionCount> {
    let symbols = image.symbols();
    let mut sums: HashMap<Option<usize>, (u64, u64)> = HashMap::new();
    for block in blocks {
        let sum = sums.entry(symbols.function(block.start)).or_default();
        sum.0 += block.count * u64::from(block.cost.instructions);
        sum.1 += block.count * u64::from(block.cost.cycles);
    }
    let mut counts: Vec<_> = sums
        .into_iter()
        .map(
            |(function, (instructions, estimated_cycles))| FunctionCount {
                name: symbols.function_name(function).to_owned(),
                instructions,
                estimated_cycles,
            },
        )
        .collect();
    counts.sort_by(|a, b| (b.instructions, &a.name).cmp(&(a.instructions, &b.name)));
    counts
}

/// Instructions by call path.
///
/// A call is noticed by its instruction, a return by its address; functions that jump to others at their
/// end are replaced by these.
pub(crate) struct CallTree {
    image: Rc<Image>,
    nodes: Vec<Node>,
    /// Callers, from the outermost to the innermost: their node, and where they go on.
    callers: Vec<(usize, u32)>,
    current: usize,
    /// Where the last block went on if it ended with a call.
    called_from: Option<u32>,
}

struct Node {
    function: Option<usize>,
    parent: usize,
    children: HashMap<Option<usize>, usize>,
    instructions: u64,
}

impl CallTree {
    pub(crate) fn new(image: Rc<Image>) -> Self {
        let root = Node {
            function: None,
            parent: 0,
            children: HashMap::new(),
            instructions: 0,
        };
        Self {
            image,
            nodes: vec![root],
            callers: Vec::new(),
            current: 0,
            called_from: None,
        }
    }

    /// The program starts anew.
    pub(crate) fn reset(&mut self) {
        self.callers.clear();
        self.current = 0;
        self.called_from = None;
    }

    /// An exception interrupts the program, which will go on at `back`.
    pub(crate) fn interrupt(&mut self, back: u32) {
        if let Some(behind) = self.called_from.take() {
            // In front of the first instruction of a function that was called.
            self.callers.push((self.current, behind));
            self.current = self.child(self.current, self.image.symbols().function(back));
        }
        self.callers.push((self.current, back));
    }

    /// The program goes on at `start`, perhaps in one of the callers.
    pub(crate) fn go_on(&mut self, start: u32) {
        if let Some(depth) = self.callers.iter().rposition(|&(_, back)| back == start) {
            self.current = self.callers[depth].0;
            self.callers.truncate(depth);
        }
    }

    /// A block is executed.
    pub(crate) fn block(&mut self, start: u32, end: u32, cost: Cost) {
        match self.called_from.take() {
            Some(behind) => self.callers.push((self.current, behind)),
            None => self.go_on(start),
        }
        let function = self.image.symbols().function(start);
        let parent = self.callers.last().map_or(0, |&(node, _)| node);
        let node = &self.nodes[self.current];
        if self.current == 0 || node.function != function || node.parent != parent {
            self.current = self.child(parent, function);
        }
        self.nodes[self.current].instructions += u64::from(cost.instructions);
        if cost.call {
            self.called_from = Some(end);
        }
    }

    fn child(&mut self, parent: usize, function: Option<usize>) -> usize {
        let new = self.nodes.len();
        let child = *self.nodes[parent].children.entry(function).or_insert(new);
        if child == new {
            self.nodes.push(Node {
                function,
                parent,
                children: HashMap::new(),
                instructions: 0,
            });
        }
        child
    }

    /// A line for each path: `outer;inner count`, as tools for flame graphs read it.
    pub(crate) fn folded(&self, root: &str) -> String {
        let mut lines = Vec::new();
        for (number, node) in self.nodes.iter().enumerate().skip(1) {
            if node.instructions == 0 {
                continue;
            }
            let mut path = Vec::new();
            let mut at = number;
            while at != 0 {
                let function = self.nodes[at].function;
                // A semicolon separates the functions of a path.
                let name = self.image.symbols().function_name(function);
                path.push(name.replace(';', ":"));
                at = self.nodes[at].parent;
            }
            path.push(root.to_owned());
            path.reverse();
            lines.push((path.join(";"), node.instructions));
        }
        lines.sort();
        lines
            .into_iter()
            .fold(String::new(), |mut text, (path, count)| {
                let _ = writeln!(text, "{path} {count}");
                text
            })
    }
}
