// The read model in PostgreSQL (database trunkline_lookup, schema read_model): documents, the
// checkpoint they are folded up to, and the events that were put aside. A cache of the log: any
// damage to it is answered by a rebuild.
//
// One connection; not thread-safe: one ReadModel a thread. Any error drops the connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <pqxx/pqxx>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "lookup/domain/documents.h"
#include "lookup/domain/project.h"

namespace trunkline::lookup {

// PostgreSQL is away; ask again.
class ReadModelUnavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// The tables are not there or were changed by somebody else: rebuild.
class ReadModelDamaged : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// PostgreSQL does not take this value.
class ReadModelRefused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr char kSchema[] = "read_model";
inline constexpr char kNextSchema[] = "read_model_next";
// The column `parent` of what hangs on no instance.
inline constexpr char kNoParent[] = "00000000-0000-0000-0000-000000000000";

// Up to which event of the log the documents are folded; `hash` (hexadecimal) is of that event, so
// that a log that was restored to an older state is told from the one that was folded.
struct Checkpoint {
  int64_t position = 0;
  std::string hash;
  bool operator==(const Checkpoint&) const = default;
};

// An event that cannot be projected, or that waits behind one in its stream.
struct Poison {
  int64_t position = 0;
  std::string stream;
  int64_t version = 0;
  std::string type;
  std::string error;
  int retried = 0;
};

struct Change {
  std::vector<Document> upserts;
  std::vector<DocKey> removals;
  std::vector<Poison> poison;
  // Before the rest: what these streams have put aside goes, and every document of these
  // instances.
  std::vector<std::string> cleared_streams;
  std::vector<std::string> cleared_instances;
};

// What the nodes that are placed on a host were ordered with.
struct HostUsage {
  int64_t nodes = 0;
  int64_t cpu = 0;
  int64_t ram_mb = 0;
  int64_t disk_gb = 0;
};

class ReadModel {
 public:
  enum class Use {
    share,
    keep,  // the one that applies changes: unavailable while another session keeps it
  };
  // A statement that takes longer is ended: ReadModelUnavailable.
  explicit ReadModel(std::string dsn, std::string schema = kSchema, Use use = Use::share,
                     std::chrono::milliseconds longest_statement = std::chrono::seconds(20));
  ~ReadModel();
  ReadModel(const ReadModel&) = delete;
  ReadModel& operator=(const ReadModel&) = delete;

  // Nothing if the read model is not there, is of another format, or was changed by somebody else.
  // Throws ReadModelUnavailable.
  std::optional<Checkpoint> checkpoint(const std::string& format);
  // All of it in one transaction that moves the checkpoint from `from` to `to`. Throws
  // ReadModelUnavailable, ReadModelDamaged (also if the checkpoint is not at `from`),
  // ReadModelRefused.
  void apply(const Change& change, const Checkpoint& from, const Checkpoint& to);
  std::vector<Poison> poison();

  std::optional<Document> load(const DocKey& key);
  // The oldest token with this hash.
  std::optional<Document> load_token(const std::string& sha256);

  // Routes in order of their instance, behind `after` (a uuid, or empty: from the first on).
  std::vector<Document> load_routes(const std::string& after, int limit);

  // By host name; reads every instance.
  std::unordered_map<std::string, HostUsage> host_usage();

  struct Digest {
    std::string sha256;  // lower-case hex, over all documents with all their columns, in order
    int64_t documents = 0;
    int64_t position = 0;
  };
  Digest digest();

  // Runs `work` with the connection (opened if need be); translates what it throws.
  void with_connection(const std::function<void(pqxx::connection&)>& work);

 private:
  std::string dsn_;
  std::string schema_;
  Use use_;
  std::chrono::milliseconds longest_statement_;
  std::unique_ptr<pqxx::connection> connection_;
};

// Differs when the tables or the documents do, also by how they are rendered: a read model of
// another format is rebuilt at start.
std::string read_model_format(const Rendering& rendering);
// The statements that make the tables of a schema, and those that finish it once it is filled.
std::string tables_sql(const std::string& schema);
std::string finish_sql(const std::string& schema);

// A text[] literal.
std::string array_literal(const std::vector<std::string>& items);
// A Document of the columns `kind, uuid, parent, project_id, created_us, token_hash, doc`.
inline constexpr char kDocumentColumns[] =
    "kind, uuid, parent, project_id, created_us, token_hash, doc";

Document document_of(const pqxx::row& row);

}  // namespace trunkline::lookup
