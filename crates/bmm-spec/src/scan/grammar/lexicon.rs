//! The vocabulary: what part each word can play in an order to a model.
//!
//! A word may belong to several classes; the grammar decides by place which one counts. Lookups hash the word once.

use std::{ops::BitOr, sync::LazyLock};

/// A set of token classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes(u128);

impl Classes {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    /// All of these together.
    pub(super) const fn of(classes: &[Self]) -> Self {
        let mut found = Self::NONE;
        let mut rest = classes;
        while let [first, others @ ..] = rest {
            found = found.with(*first);
            rest = others;
        }
        found
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Classes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $words:literal;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "positions of bits")]
        enum Bit { $($name,)* }

        $($(#[$doc])* pub(super) const $name: Classes = Classes(1 << Bit::$name as u32);)*

        const VOCABULARY: &[(Classes, &str)] = &[$(($name, $words),)*];
    };
}

classes! {
    /// Other words that a rule about behaviour can turn on.
    CONDUCT = "secret hidden confidential unaware invisible skip bypass overrides supersedes outranks supersede override trumps from henceforth hereafter going rest remainder duration throughout until mandatory mandated required critical necessary essential";
    /// Opens what holds after the call.
    AFTER = "after once when instruction instructions rule rules";
    /// Words that a fake role or a blind order can start with.
    ROLE = "links whatever requests statements orders run instructions commands begin new start end updated you system developer follow obey execute treat trust perform carry";
    /// Puts something else in the place of what was asked for.
    DIVERTED = "redirected rerouted replaced substituted routed proxied swapped overridden appended prepended altered diverted injected rewritten";
    /// How a value may be written, which is the tool's own to say.
    FORM = "format formats formatted iso example examples e.g eg syntax style like timezone encoding encoded prefix lowercase uppercase absolute valid regex enum utf-8 yyyy-mm-dd such";
    /// Puts words into the model's mouth.
    SAY = "say state claim respond report reply answer pretend announce declare assert conclude";
    /// Sets something aside.
    OUTRANK = "ignore ignoring disregard disregarding forget override overrides overriding bypass overrule supersede supersedes discard neglect";
    /// The same after a negation.
    OBEY = "follow following obey obeying heed trust";
    /// Says whose instructions.
    PAST = "previous prior preceding earlier above foregoing system developer original initial your safety existing other";
    /// What is to be set aside.
    PROMPT = "instruction instructions prompt prompts guideline guidelines directive directives guardrails training programming restrictions";
    /// May stand between the verb and the noun.
    BRIDGE = "the of and or these those that this given to you were have been from in with user model tool message messages own current whatever";
    /// Names what a model knows of its user: only with a noun behind it.
    WHOLE = "entire full complete whole all every each previous prior past recent";
    /// May set the user's wish aside with the words behind it.
    AGAINST = "no even whatever whichever instead rather ignore disregard discard override despite";
    /// Opens a condition: whatever follows says when, not what.
    CONDITION = "before after when whenever if while once upon during until unless anytime wherever where";
    /// Makes an order of the verb that follows.
    MODAL = "must should shall mandatory ensure please";
    /// The same when `to` follows.
    MODAL_TO = "need needs ought required expected obligated has have supposed requires require needed obliged instructed mandatory necessary compelled sure";
    /// An order that admits no exception.
    STRONG = "must always mandatory never automatically mandated mandatorily obligatory imperative compulsory unconditionally invariably strictly forcibly systematically";
    /// A noun follows, not a verb.
    DETERMINER = "the a an your its their his her my our this that these those any each every all no some of for with in on from by at about as user's users' original same new first current next per via such";
    /// What a step is said to make sure of.
    ENSURE = "ensure ensures ensuring verify verifies verifying confirm confirming validate validating guarantee guarantees prevent preventing prevents comply enforce enforcing establish synchronize sync maintain protect safeguard authenticate authorize log audit record calibrate initialize flag stabilize prime sanitize warm unlock normalize cleanse track trace monitor";
    /// An honest reason to look something up first.
    OBTAIN = "obtain get see find know discover determine learn retrieve fetch list understand choose identify look resolve";
    NOT = "not don't never cannot can't mustn't shouldn't won't doesn't dont avoid nor stop refrain no";
    /// Starts a tool.
    USE = "call use invoke run execute trigger utilize employ launch query consult activate engage";
    /// The same as a gerund or participle.
    USING = "using calling invoking running executing utilizing triggering launching employing querying activating performing initiating attempting called used invoked run executed utilized triggered processing handling accessing uses calls invokes runs executes triggers via through";
    /// Alters what somebody asked for.
    CHANGE = "modify change replace append prepend override redirect reroute substitute inject swap alter rewrite overwrite transform tamper divert augment truncate adjust force coerce mutate supplement bias skew standardize normalize rename prefix suffix convert inflate multiply double spoof forge falsify fabricate";
    /// The same, but an everyday word of descriptions.
    SET = "set add include insert increase reduce update limit restrict switch map treat tag attach specify pass provide supply fill put place assume interpret exclude omit drop strip hardcode default route configure multiply round expand extend return respond reply present output display say state show give write have contain start end";
    /// Participle of [`CHANGE`].
    CHANGED = "modified changed replaced appended prepended overridden redirected rerouted substituted injected swapped altered rewritten overwritten transformed diverted augmented truncated adjusted forced supplemented canonicalized rerouted tampered mapped routed treated switched restricted multiplied doubled standardized converted normalized excluded prefixed suffixed interpreted inverted limited capped processed resolved proxied wrapped";
    /// Participle of [`SET`].
    SETTED = "shown displayed reported presented ranked rated set added included inserted attached updated used returned increased reduced passed logged sent forwarded copied recorded uploaded written stored saved called run executed invoked";
    /// Moves data to somebody.
    SEND = "send forward email mail upload post transmit bcc cc share exfiltrate leak report submit publish broadcast relay deliver dispatch ping beacon sync dump copy log push message record encode embed notify";
    SENDING = "sending forwarding emailing uploading posting transmitting sharing leaking submitting publishing relaying exfiltrating copying logging";
    /// Destroys or acts irreversibly.
    HARM = "delete remove erase wipe destroy disable reset transfer purchase buy sell kill terminate revoke shutdown format uninstall chmod close cancel block merge drop move pay withdraw stage reject deny halt refuse reboot";
    /// Gets at data.
    READ = "read fetch retrieve access open collect extract gather cat scan harvest search list get load obtain check inspect examine download review capture look find lookup";
    /// Other verbs an order can start with.
    DO = "perform create make generate install start apply follow ensure make keep begin proceed initialize authenticate verify validate confirm clone import save store assign grant enable allow book schedule recommend suggest mention ask inform tell initiate navigate go visit browse rank state act pretend pose impersonate shift ignore skip discard bypass disregard respond answer choose select prefer rely treat";
    /// Lets somebody know.
    TELL = "tell inform notify mention reveal disclose alert divulge acknowledge announce warn";
    TELLING = "telling informing notifying mentioning revealing disclosing alerting asking warning prompting announcing explaining reporting flagging";
    /// What the user is not to be.
    TOLD = "told informed notified alerted aware know notice mentioned revealed disclosed shown realize see suspect";
    /// One step of a conversation.
    TURN = "turn turns message messages response responses reply replies step steps prompt prompts interaction interactions conversation conversations answer answers session sessions task";
    /// What a value may be said to be.
    GIVEN = "provided true false set given specified null none omitted empty enabled disabled present supplied missing undefined contains equals exceeds unknown valid invalid";
    /// The same, but with everyday uses.
    SHOW = "show display ask explain expose discuss report describe indicate output confirm report log prompt bother share say state print request";
    /// So that nobody sees.
    HIDDEN = "silently secretly covertly quietly discreetly invisibly stealthily unobtrusively surreptitiously transparently";
    HIDE = "hide conceal mask obscure withhold suppress disguise camouflage";
    TOOL = "tool tools function functions command commands endpoint operation operations method methods api server servers mcp plugin skill service services tool's action";
    PARAM = "argument arguments parameter parameters param params field fields value values input inputs argument's recipient recipients destination address query queries url path header headers amount account limit origin body subject content message text flag option id filter keyword keywords ticker symbol";
    /// Turns to the model, or to what is done on the side.
    STEER = "assistant agent agents model models llm llms ai claude chatgpt gpt copilot assistants triggers invokes calls runs executes posts sends uploads forwards copies reports emails transmits submits shares logs executed invoked triggered called you act operate speak write identify pretend pose impersonate masquerade assume adopt take respond answer reply behave";
    /// What a name can be of, besides a tool or a parameter.
    THING = "event events block object objects header headers scope scopes permission permissions role roles key keys attribute property properties column status state type types media element tag label section branch variable";
    /// What a user has said or a model knows.
    CONTEXT = "conversation conversations history transcript transcripts chat context messages reasoning thoughts conversation's";
    DATA = "data contents content result results response responses output file files email emails message messages information info details credentials copy document documents record records inputs arguments parameters query queries prompt prompts query's input location report summary";
    SECRET = "password passwords credential credentials secret secrets token tokens key keys apikey passphrase cookie cookies private ssh otp pin wallet seed mnemonic";
    USER = "user users user's users' human humans customer customer's person client caller enduser owner";
    ASSISTANT = "assistant agent model llm ai claude chatgpt gpt copilot cursor agents models llms assistants";
    YOU = "you your yourself";
    ALL = "all any every each everything anything whatever whichever entire always";
    OTHER = "other another alternative alternatives similar competing others rival third-party rivals competitors alternate existing built-in default standard native conventional legacy comparable else";
    FIRST = "first beforehand firstly initially FIRST";
    INSTEAD = "instead rather";
    THIS = "this these our the";
    SELF = "this it itself our we us";
    /// A pretext.
    PRETEXT = "security compliance audit audits auditing policy policies protocol protocols regulatory regulation regulations integrity safety privacy legal authorization authentication verification validation consistency accuracy governance diagnostic diagnostics maintenance traceability hardening attacks breach breaches threats vulnerability vulnerabilities prevention monitoring precaution procedure logging sanitization synchronization compatibility optimization performance efficiency alignment calibration standardization testing quality transparency stability reliability";
    ASK = "asks ask requests request wants want queries query calls call searches search lists list uses use tries try attempts attempt inputs invokes invoke specifies specify needs creates gets views sends books provides types inquires seeks looks checks submits writes reads opens sets says mentions";
    REQUEST = "request requests query queries call calls invocation invocations operation operations input inputs intent instruction instructions preference preferences prompt prompts question questions intention search searches order orders messages message output outputs lookup lookups results responses response result route routes";
    TO = "to with as by into = at from containing for on";
    BE = "is are be been being was were am isn't aren't get gets becomes remains";
    HARMFUL = "crash crashes fail fails failure failures corrupt corrupts corruption corrupted error errors breach breaches loss denied rejected terminate terminated termination blocked disrupt disrupts disruption vulnerabilities vulnerability penalty penalties invalid incorrect inaccurate suspended unauthorized break breaks compromise compromised violation violations violate unreliable unavailable delays delay lockout banned liability exploit exploits expose damage malfunction incomplete degraded";
    /// An omission, as in a threat.
    OMIT = "failure failing skipping ignoring omitting neglecting skip omit neglect noncompliance non-compliance bypassing otherwise";
    RANK = "priority precedence importance authority rank";
    HIGHER = "higher highest top outranks above over supersede supersedes precedence takes has overriding overrides absolute greater maximum utmost";
    LATER = "subsequent future later following remaining next succeeding consecutive further";
    SESSION = "session conversation chat interaction dialogue thread sessions conversations";
    WITHOUT = "without";
    /// Words that praise.
    BEST = "best superior fastest ultimate unmatched unbeatable unrivaled unparalleled preferred preferable optimal finest safest definitive premier premium #1 top-rated perfect flawless superb world-class unsurpassed recommended authoritative cheapest smartest strongest trusted favorite favourite guaranteed ideal leading";
    /// Words that praise when something superlative stands before them.
    GOOD = "accurate reliable powerful trusted comprehensive complete secure advanced efficient effective up-to-date trustworthy popular precise robust official authoritative recent intelligent versatile suitable relevant optimized correct current reputable cost-effective safe modern";
    MOST = "most only highly far always significantly much more";
    BETTER = "better faster superior safer outperforms outperform surpasses exceeds beats preferable improved enhanced upgraded replaces supersedes deprecates obsoletes cheaper smarter newer";
    WORSE = "deprecated outdated unreliable insecure legacy slow slower broken inaccurate obsolete buggy inferior unsafe limited discontinued unsupported vulnerable unstable untrusted compromised dangerous incomplete incorrect inefficient retired disabled unavailable faulty expensive";
    PREFER = "prefer choose select favor favour pick prioritize recommend prioritise rely preferring prioritizing choosing selecting default";
    REGARDLESS = "regardless irrespective notwithstanding ignoring disregarding overriding";
    AND = "and then or also & plus";
    FILLER = "the a an of its their that this any all also just simply please immediately automatically silently always first instead only then to be both your own either explicitly directly must should own secretly quietly immediately additionally never not";
    SYSTEM = "system system-level system-wide administrator admin developer security compliance platform policy internal operator";
    NOTICE = "alert policy note notice message override instruction instructions rule rules directive protocol update requirement mandate warning announcement prompt command reminder advisory mode scan";
    INVOLVE = "involves involve requires require includes means by need needs necessitates entails starts begins consists mandates triggers preceded";
}

const SLOTS: usize = 4096;
const MAX_WORD: usize = 24;

/// A word in lower case, padded with zeroes.
type Key = [u64; 3];

static TABLE: LazyLock<Vec<(Key, Classes)>> = LazyLock::new(|| {
    let mut table = vec![(Key::default(), Classes::NONE); SLOTS];
    for (class, words) in VOCABULARY {
        for word in words.split(' ') {
            let Some(key) = key(word.as_bytes()) else { continue };
            for at in probes(key) {
                let Some(slot) = table.get_mut(at) else { break };
                if slot.0 == Key::default() || slot.0 == key {
                    *slot = (key, slot.1.with(*class));
                    break;
                }
            }
        }
    }
    table
});

/// The classes of a word, whatever its case.
pub(super) fn classes(word: &[u8]) -> Classes {
    let Some(key) = key(word) else {
        return Classes::NONE;
    };
    let table = TABLE.as_slice();
    for at in probes(key) {
        match table.get(at) {
            Some((known, classes)) if *known == key => return *classes,
            Some((known, _)) if *known != Key::default() => {}
            _ => break,
        }
    }
    Classes::NONE
}

fn key(word: &[u8]) -> Option<Key> {
    let mut bytes = [0_u8; MAX_WORD];
    bytes.get_mut(..word.len())?.copy_from_slice(word);
    let (words, _) = bytes.as_chunks::<8>();
    let mut key = Key::default();
    for (to, from) in key.iter_mut().zip(words) {
        *to = lowered(u64::from_le_bytes(*from));
    }
    Some(key)
}

/// Eight bytes with their ASCII capitals in lower case.
const fn lowered(eight: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = eight & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let behind_z = low + EACH * (0x7f - b'Z' as u64);
    let capitals = !eight & (EACH * 0x80) & (from_a ^ behind_z);
    eight | (capitals >> 2)
}

/// Where a word may stand, in order: a multiplicative hash, then linear. The table is less than half full, so few are looked at.
fn probes(key: Key) -> impl Iterator<Item = usize> + use<> {
    let [a, b, c] = key;
    let mixed = a ^ b.rotate_left(23) ^ c.rotate_left(46);
    let hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let start = usize::try_from(hash >> 52).unwrap_or(0);
    (0..SLOTS).map(move |step| (start + step) % SLOTS)
}

/// Every word of the vocabulary.
#[cfg(test)]
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    VOCABULARY.iter().flat_map(|(_, words)| words.split(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_their_classes_and_others_none() {
        assert!(classes(b"must").has(MODAL) && classes(b"must").has(STRONG));
        assert!(classes(b"replace").has(CHANGE) && !classes(b"replace").has(CHANGED));
        assert_eq!(classes(b"MUST"), classes(b"must"));
        assert_eq!(classes(b"zebra"), Classes::NONE);
        assert_eq!(classes(&[b'a'; 100]), Classes::NONE);
        assert_eq!(classes(b""), Classes::NONE);
    }

    #[test]
    fn the_table_is_sparse() {
        let used = TABLE.iter().filter(|(word, _)| *word != Key::default()).count();
        assert!(used > 500 && used * 2 < SLOTS, "{used}");
    }
}
