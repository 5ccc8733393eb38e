//! Client credentials with a secret in the form, an ES256 JWT for one resource, everything in memory. Prints its port, and ends with
//! its standard input. Arguments: client id, client secret, resource.

use std::io::Read as _;
use std::sync::Arc;

use oauth_as::client::{Client, ClientAuth, ClientId, SecretHash};
use oauth_as::grant::GrantType;
use oauth_as::http::ServiceBuilder;
use oauth_as::jwt::{AccessTokenFormat, EcdsaP256Key, JwtConfig};
use oauth_as::scope::ScopeSet;
use oauth_as::server::{AuthorizationServer, ServerConfig};
use oauth_as::store::MemoryStorage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("client id, client secret, resource");
    let (id, secret, resource) = (argument()?, argument()?, argument()?);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let issuer = format!("http://127.0.0.1:{port}");

    let mut config = ServerConfig::new(issuer.as_str(), format!("{issuer}/device"));
    let jwt = JwtConfig::new(EcdsaP256Key::generate("k1"), resource).with_jwks_uri(format!("{issuer}/jwks"));
    config.access_token_format = AccessTokenFormat::Jwt(Box::new(jwt));
    let server = Arc::new(AuthorizationServer::new(config, MemoryStorage::new()));
    let scopes = ScopeSet::from_tokens(["mcp:read"])?;
    server
        .register_client(Client {
            client_id: ClientId::new(id),
            auth: ClientAuth::ConfidentialSecretHash {
                hash: SecretHash::sha256(&secret),
            },
            grant_types: vec![GrantType::ClientCredentials],
            redirect_uris: vec![],
            allowed_scopes: scopes.clone(),
            default_scopes: scopes,
            name: None,
            registration: None,
        })
        .await?;
    let service = ServiceBuilder::new(server).build()?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    println!("{port}");
    axum::serve(listener, axum::Router::from(service)).await?;
    Ok(())
}
