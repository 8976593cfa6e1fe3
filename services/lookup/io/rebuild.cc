#include "lookup/io/rebuild.h"

#include <libpq-fe.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/digest.h"
#include "eventlog/reader.h"

namespace trunkline::lookup {
namespace {

using eventlog::RecordedEvent;
using Events = std::vector<RecordedEvent>;

// Reading (and decoding) on one thread, folding on another.
class EventPipe {
 public:
  EventPipe(const std::string& dsn, int64_t after, int64_t up_to)
      : thread_([this, dsn, after, up_to] { read(dsn, after, up_to); }) {}
  ~EventPipe() {
    {
      const std::lock_guard lock(mutex_);
      abandoned_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  // Empty at the end. Throws what reading threw.
  Events next() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return ended_ || !batches_.empty(); });
    if (!batches_.empty()) {
      Events batch = std::move(batches_.front());
      batches_.pop_front();
      wake_.notify_all();
      return batch;
    }
    if (failure_) std::rethrow_exception(failure_);
    return {};
  }

 private:
  struct Abandoned {};
  static constexpr size_t kBatch = 1000;
  static constexpr size_t kMaxBatches = 16;

  void push(Events batch) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return abandoned_ || batches_.size() < kMaxBatches; });
    if (abandoned_) throw Abandoned();
    batches_.push_back(std::move(batch));
    wake_.notify_all();
  }
  void read(const std::string& dsn, int64_t after, int64_t up_to) {
    std::exception_ptr failure;
    try {
      Events batch;
      eventlog::read_bulk(dsn, after, up_to, [&](RecordedEvent&& event) {
        if (batch.empty()) batch.reserve(kBatch);
        batch.push_back(std::move(event));
        if (batch.size() < kBatch) return;
        push(std::move(batch));
        batch.clear();
      });
      if (!batch.empty()) push(std::move(batch));
    } catch (const Abandoned&) {
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    ended_ = true;
    wake_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Events> batches_;
  bool ended_ = false;
  bool abandoned_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

// A libpq connection, for COPY.
class Session {
 public:
  explicit Session(const std::string& dsn) : connection_(PQconnectdb(dsn.c_str()), PQfinish) {
    if (PQstatus(connection_.get()) != CONNECTION_OK) fail();
    execute("SET client_min_messages = warning; SET synchronous_commit = off; "
            "SET trunkline.projector = 'on'; SET statement_timeout = '120s'");
  }
  void execute(const std::string& sql, ExecStatusType wanted = PGRES_COMMAND_OK) {
    const Result result(PQexec(connection_.get(), sql.c_str()), PQclear);
    if (PQresultStatus(result.get()) != wanted) fail();
  }
  std::string quote(const std::string& text) const {
    char* quoted = PQescapeLiteral(connection_.get(), text.data(), text.size());
    if (quoted == nullptr) fail();
    std::string out = quoted;
    PQfreemem(quoted);
    return out;
  }
  void copy_data(const std::string& rows) {
    if (PQputCopyData(connection_.get(), rows.data(), static_cast<int>(rows.size())) != 1) fail();
  }
  void end_copy() {
    if (PQputCopyEnd(connection_.get(), nullptr) != 1) fail();
    while (true) {
      const Result result(PQgetResult(connection_.get()), PQclear);
      if (!result) return;
      if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) fail();
    }
  }

 private:
  using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;
  [[noreturn]] void fail() const { throw ReadModelUnavailable(PQerrorMessage(connection_.get())); }
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

// JSON has no raw control characters, so a backslash is all that COPY's text format would misread.
void append_copy_text(std::string& out, const std::string& text) {
  size_t from = 0;
  for (size_t at = text.find('\\'); at != std::string::npos; at = text.find('\\', from)) {
    out.append(text, from, at - from);
    out += "\\\\";
    from = at + 1;
  }
  out.append(text, from);
}

void append_row(std::string& out, const Document& document) {
  out += to_string(document.key.kind);
  out += '\t';
  out += document.key.uuid;
  out += '\t';
  out += document.key.parent.empty() ? kNoParent : document.key.parent;
  out += '\t';
  out += document.project_id;
  out += '\t';
  out += std::to_string(to_unix_us(document.created_at));
  out += '\t';
  out += document.token_hash.empty() ? "\\N" : document.token_hash;
  out += '\t';
  append_copy_text(out, document.json);
  out += '\n';
}

// COPY in transactions of a bounded size: an old transaction id anywhere in the cluster would make
// the log's readers wait at holes.
class DocumentCopy {
 public:
  explicit DocumentCopy(Session& session) : session_(session) {}
  void add(const Document& document) {
    if (!open_) {
      session_.execute(std::string("COPY ") + kNextSchema + ".documents (" + kDocumentColumns +
                           ") FROM STDIN",
                       PGRES_COPY_IN);
      open_ = true;
    }
    append_row(buffer_, document);
    ++rows_;
    if (buffer_.size() > 256 * 1024) flush();
    if (rows_ % kRowsPerTransaction == 0) close();
  }
  void close() {
    if (!open_) return;
    flush();
    session_.end_copy();
    open_ = false;
  }
  int64_t rows() const { return rows_; }

 private:
  static constexpr int64_t kRowsPerTransaction = 20'000;
  void flush() {
    session_.copy_data(buffer_);
    buffer_.clear();
  }
  Session& session_;
  std::string buffer_;
  int64_t rows_ = 0;
  bool open_ = false;
};

}  // namespace

Rebuild::Rebuild(std::string log_dsn, std::string read_model_dsn, Rendering rendering)
    : log_dsn_(std::move(log_dsn)),
      read_model_dsn_(std::move(read_model_dsn)),
      rendering_(std::move(rendering)) {}

View& Rebuild::view_of(const StreamRef& stream) {
  const auto [it, fresh] = views_.try_emplace(view_key(stream));
  if (fresh) it->second = make_view(stream);
  return it->second;
}

void Rebuild::take(RecordedEvent& event) {
  const auto stream = parse_stream(event.stream);
  if (is_not_shown(event.stream)) {
    // nothing to show
  } else if (!stream) {
    poison_.push_back(put_aside(event, "the stream is of no known aggregate"));
  } else {
    fold(view_of(*stream), event, blocked_, poison_, all_written_ ? &touched_now_ : nullptr);
    for (DocKey& key : touched_now_) touched_.try_emplace(std::move(key), view_key(*stream));
    touched_now_.clear();
  }
  ++events_;
  reached_.position = event.position;
  last_hash_ = std::move(event.hash);
}

void Rebuild::fold_to(int64_t up_to) {
  if (up_to <= reached_.position) return;
  EventPipe pipe(log_dsn_, reached_.position, up_to);
  for (Events batch = pipe.next(); !batch.empty(); batch = pipe.next()) {
    for (RecordedEvent& event : batch) take(event);
  }
  reached_.hash = hex(last_hash_);
}

void Rebuild::write() {
  Session session(read_model_dsn_);
  session.execute(std::string("DROP SCHEMA IF EXISTS ") + kNextSchema + " CASCADE");
  session.execute(tables_sql(kNextSchema));
  DocumentCopy copy(session);
  for (const auto& [key, view] : views_) {
    for (const DocKey& document_key : document_keys(view)) {
      if (const auto document = render(view, document_key, rendering_)) copy.add(*document);
    }
  }
  copy.close();
  documents_ = copy.rows();
  session.execute(finish_sql(kNextSchema));
  session.execute(std::string("INSERT INTO ") + kNextSchema +
                  ".checkpoint (position, hash, format) VALUES (0, '', " +
                  session.quote(read_model_format(rendering_)) + ")");
  all_written_ = true;
  write_rest();
}

void Rebuild::write_rest() {
  Change change;
  for (const auto& [key, view] : touched_) {
    if (auto document = render(views_.at(view), key, rendering_)) {
      change.upserts.push_back(std::move(*document));
    } else {
      change.removals.push_back(key);
    }
  }
  change.poison = std::move(poison_);
  ReadModel next(read_model_dsn_, kNextSchema);
  next.apply(change, written_, reached_);
  written_ = reached_;
  poison_.clear();
  touched_.clear();
}

void Rebuild::swap() {
  Session session(read_model_dsn_);
  const std::string current = kSchema, next = kNextSchema;
  session.execute("BEGIN; DROP SCHEMA IF EXISTS " + current + " CASCADE; ALTER SCHEMA " + next +
                  " RENAME TO " + current + "; COMMIT");
}

}  // namespace trunkline::lookup
