//! Where the rules stand in the lists that others keep: CWE, OWASP's Top 10 for LLM applications (2025) and for MCP (2025, beta).

use crate::rule::Rule;

impl Rule {
    /// Entries of CWE (`CWE-95`), OWASP LLM Top 10 (`LLM01:2025`) and OWASP MCP Top 10 (`MCP03:2025`) that the rule belongs to; none
    /// for rules of form.
    pub fn tags(self) -> &'static [&'static str] {
        match self {
            Rule::NotJson
            | Rule::TooLarge
            | Rule::UnknownField
            | Rule::MissingField
            | Rule::WrongType
            | Rule::BadValue
            | Rule::DuplicateName
            | Rule::ReservedSlug
            | Rule::BadDomain
            | Rule::BadSchema
            | Rule::ExampleMismatch
            | Rule::Content
            | Rule::Version
            | Rule::DefaultExport
            | Rule::Header
            | Rule::StaleSuppression => &[],
            Rule::DuplicateKey => &["CWE-436"],
            Rule::SecretDomain => &["CWE-522", "MCP01:2025"],

            Rule::Eval | Rule::StringTimer => &["CWE-95", "MCP05:2025"],
            Rule::FunctionCtor => &["CWE-94", "MCP05:2025"],
            Rule::CtorChain => &["CWE-94", "CWE-693", "MCP05:2025"],
            Rule::ModuleLoad => &["CWE-829", "MCP04:2025"],
            Rule::ProcessAccess => &["CWE-526", "MCP05:2025"],
            Rule::VmOrChild => &["CWE-78", "MCP05:2025"],
            Rule::GlobalObject => &["CWE-470", "MCP05:2025"],
            Rule::UnknownGlobal => &["CWE-670"],
            Rule::ProtoTamper => &["CWE-1321", "MCP05:2025"],
            Rule::Reflection | Rule::DynamicCall => &["CWE-470"],
            Rule::StackHooks => &["CWE-693"],
            Rule::Sloppy => &["CWE-758"],
            Rule::Obfuscated => &["CWE-506", "MCP04:2025"],
            Rule::UnicodeSource => &["CWE-1007", "MCP04:2025"],
            Rule::SharedMemory => &["CWE-208"],
            Rule::UnboundedLoop => &["CWE-835", "LLM10:2025"],
            Rule::Redos => &["CWE-1333", "LLM10:2025"],
            Rule::ParseOrLimit => &["CWE-400"],

            Rule::UndeclaredHost => &["CWE-918", "LLM06:2025", "MCP02:2025"],
            Rule::DynamicHost => &["CWE-918"],
            Rule::UnsafeTarget => &["CWE-918", "CWE-319"],
            Rule::BroadAllow => &["CWE-942", "LLM06:2025", "MCP02:2025"],
            Rule::UnusedDomain => &["CWE-272", "MCP02:2025"],
            Rule::UndeclaredSecret => &["CWE-522", "LLM06:2025", "MCP01:2025"],
            Rule::SecretToOutput => &["CWE-200", "LLM02:2025", "MCP01:2025"],
            Rule::HardcodedSecret => &["CWE-798", "MCP01:2025"],
            Rule::SecretArgument => &["CWE-522", "LLM02:2025", "MCP01:2025"],
            Rule::ArgumentExfiltration => &["CWE-201", "LLM02:2025", "MCP10:2025"],

            Rule::HiddenUnicode | Rule::ConfusableName => &["CWE-1007", "LLM01:2025", "MCP03:2025"],
            Rule::InstructionOverride => &["CWE-1427", "LLM01:2025", "MCP03:2025"],
            Rule::GovernsOtherTool
            | Rule::ArgumentHijack
            | Rule::PriorityClaim
            | Rule::SessionPersistence
            | Rule::Coercion
            | Rule::Promotion => &["CWE-1427", "LLM01:2025", "MCP03:2025"],
            Rule::Concealment => &["CWE-451", "LLM01:2025", "MCP03:2025"],
            Rule::SensitivePath => &["CWE-552", "LLM02:2025", "MCP03:2025"],
            Rule::ExfilInstruction => &["CWE-201", "LLM01:2025", "LLM02:2025", "MCP03:2025"],
            Rule::SideChannelParam => &["CWE-201", "LLM02:2025", "MCP10:2025"],
            Rule::EncodedPayload => &["CWE-506", "LLM01:2025", "MCP03:2025"],
            Rule::NearDuplicateTool => &["CWE-290", "MCP03:2025"],
            Rule::AnnotationLie | Rule::CapabilityMismatch => &["CWE-451", "LLM06:2025", "MCP03:2025"],
            Rule::ShellSnippet => &["CWE-78", "LLM01:2025", "MCP05:2025"],
            Rule::Drift => &["CWE-494", "LLM03:2025", "MCP04:2025"],
        }
    }
}
