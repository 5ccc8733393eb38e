//! Images in the daemon: brought there, found there, and taken away when nobody needs them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bollard::query_parameters::{ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::docker::{Docker, DockerError};
use super::image::{ImageError, RUNNER, RunnerImage};
use super::image_id::ImageId;
use super::plan::label;

/// The runner image is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The files are not to be had.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The daemon does not take it.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The daemon took it, and has no image of the ID that it must have.
    #[error("the daemon has taken the image {0} and does not know it by this ID")]
    Unknown(ImageId),
}

impl Docker {
    /// Makes the runner image of an executable, and has the daemon take it, unless it has it already. Returns the ID to make
    /// containers with.
    pub async fn build_image(&self, executable: &Path) -> Result<ImageId, BuildError> {
        let path = executable.to_owned();
        let made = tokio::task::spawn_blocking(move || RunnerImage::of(&path)).await;
        let image = made.map_err(|error| ImageError::new(executable, io::Error::other(error)))??;
        self.load_image(Arc::new(image)).await
    }

    /// Has the daemon take `image`, unless it has it already. Returns the ID that the daemon knows it by, which is one of the
    /// image's two.
    pub async fn load_image(&self, image: Arc<RunnerImage>) -> Result<ImageId, BuildError> {
        if let Some(id) = self.known_image(&image).await? {
            return Ok(id);
        }
        self.send_image(Arc::clone(&image)).await?;
        match self.known_image(&image).await? {
            Some(id) => Ok(id),
            None => Err(BuildError::Unknown(image.id().clone())),
        }
    }

    /// Removes all runner images but `current` that no container was made from. Returns which.
    pub async fn collect_images(&self, current: &ImageId) -> Result<Vec<ImageId>, DockerError> {
        let what = "list images";
        let ours = HashMap::from([("label".to_owned(), vec![format!("{}={RUNNER}", label::IMAGE)])]);
        let options = ListImagesOptionsBuilder::default().filters(&ours).build();
        let found = self.client().list_images(Some(options)).await;
        let mut removed = Vec::new();
        for image in found.map_err(|error| DockerError::new(what, error))? {
            let Ok(id) = image.id.parse::<ImageId>() else {
                continue;
            };
            if id == *current {
                continue;
            }
            // Without force: one that is used, or was made something else of, stays (409); or another was faster (404).
            let options = None::<RemoveImageOptions>;
            match self.client().remove_image(id.as_str(), options, None).await {
                Ok(_) => removed.push(id),
                Err(error) => match DockerError::new("remove an image", error) {
                    DockerError::Refused {
                        status: 404 | 409, ..
                    } => {}
                    error => return Err(error),
                },
            }
        }
        Ok(removed)
    }

    /// What the daemon calls `image`, if it has it: both IDs are digests, so an image of this ID is this image.
    async fn known_image(&self, image: &RunnerImage) -> Result<Option<ImageId>, DockerError> {
        for id in [image.id(), image.manifest_id()] {
            match self.client().inspect_image(id.as_str()).await {
                Ok(found) if found.id.as_deref() == Some(id.as_str()) => return Ok(Some(id.clone())),
                Ok(_) => {}
                Err(error) => match DockerError::new("look for an image", error) {
                    DockerError::Refused { status: 404, .. } => {}
                    error => return Err(error),
                },
            }
        }
        Ok(None)
    }

    /// Streams the archive: some pieces of it are in memory at a time.
    async fn send_image(&self, image: Arc<RunnerImage>) -> Result<(), DockerError> {
        let (pieces, taken) = mpsc::channel(4);
        let written = tokio::task::spawn_blocking(move || {
            let mut buffered = io::BufWriter::with_capacity(64 * 1024, Pieces(pieces.clone()));
            let outcome = image.write(&mut buffered).and_then(|()| buffered.flush());
            if let Err(error) = outcome {
                // The daemon must not take half an image for a whole one.
                let _ = pieces.blocking_send(Err(error));
            }
        });
        let body = stream::unfold(taken, async |mut taken| {
            taken.recv().await.map(|piece| (piece, taken))
        });
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let mut answers = std::pin::pin!(self.client().import_image(
            options,
            bollard::body_try_stream(body),
            None
        ));
        while let Some(answer) = answers.next().await {
            answer.map_err(|error| DockerError::new("take an image", error))?;
        }
        let _ = written.await;
        Ok(())
    }
}

/// Sends what is written to it to whoever takes it.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
