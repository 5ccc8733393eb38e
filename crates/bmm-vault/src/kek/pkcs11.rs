//! A key-encryption key that never leaves its PKCS#11 token.
//!
//! Wrapped form: `nonce (12) | ciphertext | tag (16)`, made by the token with CKM_AES_GCM and the binding as associated
//! data. The token must take the caller's nonce.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Kek, KekId};
use crate::error::VaultError;
use crate::key::{NONCE_BYTES, TAG_BYTES, random};

/// A nonce that is used for one message only, always the same: what the id of the key is computed from.
const CHECK_NONCE: [u8; NONCE_BYTES] = *b"bmm-vault id";

/// Where the key is.
pub struct Pkcs11Config {
    /// The vendor's PKCS#11 module, such as `/usr/lib/softhsm/libsofthsm2.so`. It is loaded into this process.
    pub module: PathBuf,
    /// Label of the token.
    pub token_label: String,
    /// The user's PIN.
    pub pin: Zeroizing<String>,
    /// Label of the key: an AES key of 256 bits that may encrypt and decrypt.
    pub key_label: String,
}

/// A key-encryption key in a PKCS#11 token (an HSM, or SoftHSM). Each use opens a session of its own and closes it, so
/// that a token that was restarted is found again.
///
/// ```no_run
/// use bmm_vault::{Pkcs11Config, Pkcs11Kek, Vault};
///
/// # fn main() -> Result<(), bmm_vault::VaultError> {
/// let kek = Pkcs11Kek::open(Pkcs11Config {
///     module: "/usr/lib/softhsm/libsofthsm2.so".into(),
///     token_label: "production".to_owned(),
///     pin: std::env::var("TOKEN_PIN").unwrap_or_default().into(),
///     key_label: "kek".to_owned(),
/// })?;
/// let vault = Vault::create(&kek)?;
/// # Ok(())
/// # }
/// ```
///
/// Two of these may share a module within one process. The module is never finalized, as others may use it.
pub struct Pkcs11Kek {
    module: Pkcs11,
    config: Pkcs11Config,
    /// One use at a time: who logs in first and who closes last would otherwise disturb each other.
    turn: Mutex<()>,
    id: KekId,
}

impl Pkcs11Kek {
    /// Finds the key in its token and uses it once.
    ///
    /// # Errors
    ///
    /// [`VaultError::Kek`] with what the module said, or that token or key are missing or not unique.
    pub fn open(config: Pkcs11Config) -> Result<Self, VaultError> {
        Self::with(config, find_key)
    }

    /// Makes the key in its token, where it can be used but not read out (sensitive, not extractable), and opens it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if a key of this label is there already: it is never replaced.
    pub fn create(config: Pkcs11Config) -> Result<Self, VaultError> {
        Self::with(config, |session, label| {
            if !session
                .find_objects(&[Attribute::Label(label.into())])
                .map_err(kek)?
                .is_empty()
            {
                return Err(refused("an object of this label is in the token already"));
            }
            let template = [
                Attribute::Label(label.into()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::ValueLen(32.into()),
            ];
            session
                .generate_key(&Mechanism::AesKeyGen, &template)
                .map_err(kek)
        })
    }

    fn with(
        config: Pkcs11Config,
        key: impl FnOnce(&Session, &str) -> Result<ObjectHandle, VaultError>,
    ) -> Result<Self, VaultError> {
        let module = Pkcs11::new(&config.module).map_err(kek)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(kek(error)),
        }
        let mut opened = Self {
            module,
            config,
            turn: Mutex::new(()),
            id: KekId([0; 32]),
        };
        let session = opened.session()?;
        let key = key(&session, &opened.config.key_label)?;
        opened.id = check_value(&session, key)?;
        drop(session);
        Ok(opened)
    }

    fn session(&self) -> Result<Session, VaultError> {
        let mut found = None;
        for slot in self.module.get_slots_with_token().map_err(kek)? {
            let token = self.module.get_token_info(slot).map_err(kek)?;
            if token.label().trim_end() == self.config.token_label && found.replace(slot).is_some() {
                return Err(refused("more than one token has this label"));
            }
        }
        let slot = found.ok_or_else(|| refused("no token has this label"))?;
        let session = self.module.open_rw_session(slot).map_err(kek)?;
        let pin = AuthPin::from(self.config.pin.as_str());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(kek(error)),
        }
    }

    /// Uses the key, which must still be the one that was opened.
    fn use_key<T>(
        &self,
        work: impl FnOnce(&Session, ObjectHandle) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.session()?;
        let key = find_key(&session, &self.config.key_label)?;
        if check_value(&session, key)? != self.id {
            return Err(VaultError::WrongKek);
        }
        work(&session, key)
    }
}

impl Kek for Pkcs11Kek {
    fn id(&self) -> KekId {
        self.id
    }

    fn wrap_key(&self, key: &[u8; 32], binding: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.use_key(|session, handle| {
            let mut nonce = [0; NONCE_BYTES];
            random(&mut nonce)?;
            let sealed = encrypt(session, handle, &nonce, binding, key)?;
            Ok([nonce.as_slice(), &sealed].concat())
        })
    }

    fn unwrap_key(&self, wrapped: &[u8], binding: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let (nonce, sealed) = wrapped
            .split_first_chunk::<NONCE_BYTES>()
            .filter(|(_, sealed)| sealed.len() == 32 + TAG_BYTES)
            .ok_or(VaultError::Altered)?;
        self.use_key(|session, handle| {
            let mut nonce = *nonce;
            let plain = session.decrypt(&gcm(&mut nonce, binding)?, handle, sealed);
            let plain = Zeroizing::new(plain.map_err(|error| match error {
                // SoftHSM says only "general error" when the tag does not fit; the key was used a moment ago.
                Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::GeneralError, Function::Decrypt) => {
                    VaultError::Altered
                }
                error => kek(error),
            })?);
            let plain: &[u8; 32] = plain.as_slice().try_into().map_err(|_| VaultError::Altered)?;
            Ok(Zeroizing::new(*plain))
        })
    }
}

impl fmt::Debug for Pkcs11Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Kek")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Pkcs11Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Config")
            .field("module", &self.module)
            .field("token_label", &self.token_label)
            .field("key_label", &self.key_label)
            .finish_non_exhaustive()
    }
}

fn find_key(session: &Session, label: &str) -> Result<ObjectHandle, VaultError> {
    let template = [
        Attribute::Label(label.into()),
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
    ];
    match session.find_objects(&template).map_err(kek)?.as_slice() {
        [key] => Ok(*key),
        [] => Err(refused("no AES key in the token has this label")),
        _ => Err(refused("more than one key in the token has this label")),
    }
}

/// A commitment to a key that nobody may read: the hash of two blocks that only it encrypts like this.
fn check_value(session: &Session, key: ObjectHandle) -> Result<KekId, VaultError> {
    let check = encrypt(session, key, &CHECK_NONCE, b"bmm-vault key check", &[0; 32])?;
    let mut hash = Sha256::new();
    hash.update(b"bmm-vault 1 pkcs11 kek\0");
    hash.update(check);
    Ok(KekId(hash.finalize().into()))
}

fn encrypt(
    session: &Session,
    key: ObjectHandle,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plain: &[u8; 32],
) -> Result<Vec<u8>, VaultError> {
    let mut nonce_used = *nonce;
    let sealed = session
        .encrypt(&gcm(&mut nonce_used, aad)?, key, plain)
        .map_err(kek)?;
    if nonce_used != *nonce {
        return Err(refused("the token does not take the caller's nonce"));
    }
    if sealed.len() != plain.len() + TAG_BYTES {
        return Err(refused("the token's AES-GCM answer is not ciphertext and tag"));
    }
    Ok(sealed)
}

fn gcm<'a>(nonce: &'a mut [u8], aad: &'a [u8]) -> Result<Mechanism<'a>, VaultError> {
    Ok(Mechanism::AesGcm(
        GcmParams::new(nonce, aad, 128.into()).map_err(kek)?,
    ))
}

fn kek(error: Error) -> VaultError {
    VaultError::Kek(Box::new(error))
}

fn refused(reason: &'static str) -> VaultError {
    VaultError::Kek(reason.into())
}
