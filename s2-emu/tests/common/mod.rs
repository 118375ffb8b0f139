//! What the tests share: the test programs, and a chip that runs one of them.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::OnceLock;

use s2_emu::{Image, Machine, Options};
use s2_hal::dma::Address;
use s2_hal::mock::Config;
use s2_hal::topology::PeId;

/// The file of a test program, built when a test first asks for one.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firmware");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
            .arg(&target)
            // It finds its settings there.
            .current_dir(&source)
            .env_remove("RUSTFLAGS")
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "the test programs do not build");
        target.join("thumbv7em-none-eabihf/release")
    });
    folder.join(name)
}

/// A test program.
pub fn image(name: &str) -> Rc<Image> {
    Rc::new(Image::open(&program(name)).expect("the linker makes firmware"))
}

/// A PE to run programs on.
pub fn pe() -> PeId {
    PeId::new(1, 1, 2).expect("it exists")
}

/// Output of a program, shared between the processor and the test.
#[derive(Clone, Default)]
pub struct Output(Rc<RefCell<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output {
    /// What was written so far.
    #[allow(dead_code, reason = "not every test looks at the output")]
    pub fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("programs print text")
    }
}

/// A chip that has one program.
#[allow(dead_code, reason = "not every test wants just one")]
pub fn machine(name: &str, options: Options) -> (Machine, Output) {
    let mut machine = Machine::new(Config::default());
    let output = Output::default();
    let processor = machine
        .load(pe(), image(name), options)
        .expect("the PE exists");
    processor.set_output(Box::new(output.clone()));
    (machine, output)
}

/// Writes the word of a symbol into a PE's memory.
#[allow(dead_code, reason = "not every test does")]
pub fn set(machine: &mut Machine, pe: PeId, symbol: &str, value: u32) {
    let processor = machine.processor(pe).expect("it has a program");
    let address = processor
        .image()
        .symbols()
        .value(symbol)
        .expect("the symbol exists");
    let address = Address::pe_sram(pe, address).expect("it is an address of the SRAM");
    machine
        .chip_mut()
        .write(address, &value.to_le_bytes())
        .expect("memory");
}
