//! What the tests share: the test programs, and a chip that runs one of them.

#[allow(dead_code, reason = "some tests run other programs")]
pub mod loss;

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

/// Builds programs for the chip as `arguments` say, in `folder` of this crate, and returns where they are.
fn build(folder: &str, target: &str, arguments: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--target-dir"])
        .arg(&target)
        .args(["--target", "thumbv7em-none-eabihf"])
        .args(arguments)
        // Cargo finds its settings there.
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the programs in {folder} do not build");
    target.join("thumbv7em-none-eabihf")
}

/// The file of a test program, built when a test first asks for one.
#[allow(dead_code, reason = "some tests run the project's firmware only")]
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| build("tests/firmware", "firmware", &["--release"]));
    folder.join("release").join(name)
}

/// The file of one of the project's images, or of an example (`examples/NAME`), built when a test first
/// asks for one.
#[allow(dead_code, reason = "some tests run test programs only")]
pub fn project_program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let arguments = "-p bsp --profile firmware --features firmware,provisional --bins --examples";
    let folder = BUILT.get_or_init(|| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        build("..", "bsp", &arguments)
    });
    folder.join("firmware").join(name)
}

/// What is in the file of a program.
pub fn open(program: &Path) -> Rc<Image> {
    Rc::new(Image::open(program).expect("the linker makes firmware"))
}

/// A test program.
#[allow(dead_code, reason = "some tests run the project's firmware only")]
pub fn image(name: &str) -> Rc<Image> {
    open(&program(name))
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
