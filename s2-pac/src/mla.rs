//! The machine-learning accelerator: products of matrices, convolutions.

use crate::register::{block, fields};

block! {
    /// Multiplies matrices and convolves. It reads operands from memory or from
    /// [`data_a`](Self::data_a) and writes the result to memory.
    ///
    /// How a source type, a command, and the parameters of a convolution are encoded is not public.
    MlAccelerator {
        /// First operand, A.
        [J "qpe-types.h"]
        source_a = 0x00, "source_a": Source, ReadPointer;
        /// Second operand, B.
        [J "qpe-types.h"]
        source_b = 0x04, "source_b": Source, ReadPointer;
        /// Address of the result.
        [J "qpe-types.h"]
        target = 0x08, "target": u32, ReadPointer;
        /// Rows of A.
        [J "qpe-types.h"]
        rows_a = 0x0c, "rows_a": u32, ReadPointer;
        /// Columns of A, which are the rows of B.
        [J "qpe-types.h"]
        columns_a = 0x10, "cols_a_rows_b": u32, ReadPointer;
        /// Columns of B.
        [J "qpe-types.h"]
        columns_b = 0x14, "cols_b": u32, ReadPointer;
        /// Command, which starts the accelerator; encoding not public.
        [J "qpe-types.h"]
        trigger = 0x18, "trigger_command": u32, ReadPointer;
        /// Words of A that the PE itself brings. Writing them may let a running job go on.
        [J "qpe-types.h"]
        data_a[4; 4] = 0x1c, "data_a": u32, ReadPointer;
        /// Parameters of a convolution, 1 to 3 in the header; encoding not public.
        [J "qpe-types.h"]
        convolution[3; 4] = 0x2c, "conv_params": u32, ReadPointer;
        /// Source over the network; use not public.
        [J "qpe-types.h"]
        network_source = 0x38, "noc_src": u32, ReadPointer;
        /// Destination over the network; use not public.
        [J "qpe-types.h"]
        network_destination = 0x3c, "noc_dst": u32, ReadPointer;
    }
    instances ML_ACCELERATOR
}

fields! {
    /// Where an operand comes from.
    Source {
        /// Its address; where two more bits would come from is not public.
        [J] 0..=29 address / with_address: u32;
        /// Type of source; encoding not public.
        [J] 30..=31 kind / with_kind: u8;
    }
}
