//! Exit codes of the commands. Scripts rely on the numbers: add, never renumber.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed; the same command may succeed later.
    Failed = 1,
    /// Wrong usage or a wrong config; repeating it unchanged is pointless.
    Usage = 2,
    /// No agent answered at the socket.
    NoAgent = 3,
    /// A guard has halted what the command needed.
    Halted = 7,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
