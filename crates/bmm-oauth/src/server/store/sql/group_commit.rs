//! The one writer of an SQLite database. A durable commit costs an `fsync`, which takes milliseconds; so the writer takes all writes that wait, runs them in
//! one transaction, commits once, and only then answers. A write that fails is undone alone; if the commit fails, all hear so.
//!
//! The queue is bounded: who finds it full waits, and gives up after some seconds. Writes that were queued when the last handle is dropped, or when the
//! store is closed, are still done. If the runtime ends first, whoever waits gets an error and nothing half-done stays, since nothing was committed.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot};

use super::error::SqlError;
use super::rotate_sqlite::{self, Rotate};
use crate::server::store::Rotation;
use crate::verifier::BoxFuture;

/// Writes that wait; the next ones wait for room.
const QUEUE: usize = 1024;
/// Writes of one commit: more would not make an `fsync` cheaper, but the first one wait longer.
const GROUP: usize = 256;
/// How long a write waits for room in the queue.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a write returns with its connection; see [`GroupCommit::write`].
pub(super) type Work<'c, T> = BoxFuture<'c, Result<T, SqlError>>;

/// A handle to the writer. It ends when all handles are gone.
#[derive(Clone, Debug)]
pub(super) struct GroupCommit {
    queue: mpsc::Sender<Task>,
}

enum Task {
    Write(Box<dyn Write>),
    Rotate(Rotate),
    Close(oneshot::Sender<()>),
}

impl GroupCommit {
    /// Starts the writer on its own connection.
    pub(super) async fn start(options: SqliteConnectOptions) -> sqlx::Result<Self> {
        let connection = options.connect().await?;
        let (queue, tasks) = mpsc::channel(QUEUE);
        let writer = Writer { connection, options };
        tokio::spawn(writer.run(tasks));
        Ok(Self { queue })
    }

    /// Runs `work` in a transaction, alone or with others, and answers when it is on the disk. Either all of it happens or, when it
    /// fails, nothing.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, SqlError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            work: Some(work),
            outcome: None,
            reply,
        };
        self.enqueue(Task::Write(Box::new(job)), answer).await
    }

    /// Rotates a refresh token; rotations of one transaction are done as a set.
    pub(super) async fn rotate(&self, rotate: rotate_sqlite::Asked) -> Result<Rotation, SqlError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Task::Rotate(Rotate { asked: rotate, reply }), answer)
            .await
    }

    /// Does what is queued, and ends the writer. Later writes fail.
    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Task::Close(reply)).await.is_ok() {
            // An error means that the writer has ended meanwhile, which is what was wanted.
            let _ = answer.await;
        }
    }

    async fn enqueue<T>(
        &self,
        task: Task,
        answer: oneshot::Receiver<Result<T, SqlError>>,
    ) -> Result<T, SqlError> {
        match self.queue.send_timeout(task, PATIENCE).await {
            Ok(()) => answer.await.map_err(|_| SqlError::WriterEnded)?,
            Err(SendTimeoutError::Timeout(_)) => Err(SqlError::Overloaded),
            Err(SendTimeoutError::Closed(_)) => Err(SqlError::WriterEnded),
        }
    }
}

/// A write of whatever result.
trait Write: Send {
    /// Runs it and keeps the outcome. Says whether it succeeded.
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, bool>;
    /// Answers with the outcome, or with the failure of the whole transaction.
    fn answer(self: Box<Self>, failed: Option<SqlError>);
}

struct Job<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, SqlError>>,
    reply: oneshot::Sender<Result<T, SqlError>>,
}

impl<T, F> Write for Job<T, F>
where
    T: Send,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send,
{
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, bool> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.outcome = Some(work(connection).await);
            }
            matches!(self.outcome, Some(Ok(_)))
        })
    }

    fn answer(self: Box<Self>, failed: Option<SqlError>) {
        let outcome = match (failed, self.outcome) {
            (Some(error), _) => Err(error),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(SqlError::WriterEnded),
        };
        // Who asked may have gone away; the write stands all the same.
        let _ = self.reply.send(outcome);
    }
}

struct Writer {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
}

impl Writer {
    async fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        let mut group = Vec::with_capacity(GROUP);
        let mut closing = Vec::new();
        while tasks.recv_many(&mut group, GROUP).await > 0 {
            let (mut writes, mut rotations) = (Vec::new(), Vec::new());
            for task in group.drain(..) {
                match task {
                    Task::Write(write) => writes.push(write),
                    Task::Rotate(rotate) => rotations.push(rotate),
                    Task::Close(reply) => {
                        // What is queued is still received; nothing new is.
                        tasks.close();
                        closing.push(reply);
                    }
                }
            }
            self.commit(writes, rotations).await;
        }
        // Folds the log into the database; if that fails, the next opening does it.
        let _ = self.connection.close().await;
        for reply in closing {
            let _ = reply.send(());
        }
    }

    async fn commit(&mut self, mut writes: Vec<Box<dyn Write>>, rotations: Vec<Rotate>) {
        match self.transaction(&mut writes, &rotations).await {
            Ok(outcomes) => {
                for write in writes {
                    write.answer(None);
                }
                for (rotate, outcome) in rotations.into_iter().zip(outcomes) {
                    let _ = rotate.reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                self.recover().await;
                let error = Arc::new(error);
                for write in writes {
                    write.answer(Some(SqlError::NotCommitted(Arc::clone(&error))));
                }
                for rotate in rotations {
                    let _ = rotate.reply.send(Err(SqlError::NotCommitted(Arc::clone(&error))));
                }
            }
        }
    }

    async fn transaction(
        &mut self,
        writes: &mut [Box<dyn Write>],
        rotations: &[Rotate],
    ) -> Result<Vec<Rotation>, SqlError> {
        let connection = &mut self.connection;
        connection.execute("BEGIN IMMEDIATE").await?;
        for write in writes {
            connection.execute("SAVEPOINT one").await?;
            if !write.run(&mut *connection).await {
                connection.execute("ROLLBACK TO one").await?;
            }
            connection.execute("RELEASE one").await?;
        }
        let outcomes = match rotations {
            [] => Vec::new(),
            rotations => rotate_sqlite::rotate_all(connection, rotations).await?,
        };
        connection.execute("COMMIT").await?;
        Ok(outcomes)
    }

    /// After a transaction that failed: none must be open, and if that cannot be had, the connection is replaced.
    async fn recover(&mut self) {
        if self.connection.execute("ROLLBACK").await.is_err()
            && let Ok(fresh) = self.options.connect().await
        {
            self.connection = fresh;
        }
    }
}
