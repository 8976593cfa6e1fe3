#include <algorithm>
#include <chrono>
#include <iomanip>
#include <sstream>
#include <thread>

#include "base/ids.h"
#include "cli/commands.h"
#include "cli/event_text.h"
#include "cli/log_source.h"
#include "eventlog/log.h"
#include "eventlog/reader.h"
#include "eventlog/verify.h"

namespace trunkline::cli {
namespace {

constexpr size_t kBatch = 500;
constexpr std::chrono::milliseconds kFollowPause{200};

const std::string kReadModel = "/v1/admin/read-model/";
constexpr std::chrono::minutes kReadModelPatience{15};

std::string log_dsn(Session& session) {
  const Platform& platform = session.platform();
  if (platform.log_dsn.empty()) {
    throw Failure(ExitCode::unavailable,
                  "the log's database is not known: use --run-json or TRUNKLINE_HOME");
  }
  return platform.log_dsn;
}

// eventlog's own exceptions as the command's.
template <class Work>
auto reading(const Work& work) {
  try {
    return work();
  } catch (const eventlog::LogUnavailable& error) {
    throw Failure(ExitCode::unavailable, std::string("log: ") + error.what());
  } catch (const eventlog::LogCorrupt& error) {
    throw Failure(ExitCode::log_damaged, std::string("log: ") + error.what());
  }
}

void print_event(Session& session, const eventlog::RecordedEvent& event) {
  if (session.json) {
    session.terminal.out << compact(event_json(event)) << "\n";
    return;
  }
  std::ostringstream line;
  line << std::setw(8) << event.position << "  " << format_rfc3339(event.recorded_at) << "  "
       << std::left << std::setw(27) << event.type << "  " << event.stream << "@"
       << event.version << "  " << event.metadata.actor << "  " << compact(payload_json(event));
  const size_t width = session.whole ? 0 : session.terminal.width;
  // A table of one cell: cleaned and cut in the same way.
  const std::string table = render_table({{"", false, true}}, {{line.str()}}, width);
  session.terminal.out << table.substr(table.find('\n') + 1);
}

// ---- tail ------------------------------------------------------------------------------------

struct TailOptions {
  int64_t count = 20;
  bool follow = false;
  std::string stream;
  std::string type;
};

ExitCode tail(Session& session, const TailOptions& options) {
  const std::string dsn = log_dsn(session);
  LogSource source(dsn);
  const int64_t last = source.last_position();
  eventlog::Reader reader(
      dsn, source.position_before_newest(options.count, options.stream, options.type));
  return reading([&] {
    for (;;) {
      const auto events = reader.next(kBatch);
      for (const auto& event : events) {
        const bool wanted = event.stream.starts_with(options.stream) &&
                            (options.type.empty() || event.type == options.type);
        if (wanted) print_event(session, event);
      }
      session.terminal.out.flush();
      if (!session.terminal.out) return ExitCode::ok;  // the reader of a pipe went away
      if (!options.follow && (events.empty() || reader.position() >= last)) return ExitCode::ok;
      if (events.empty()) std::this_thread::sleep_for(kFollowPause);
    }
  });
}

void add_tail(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "tail", "the newest events");
  auto options = std::make_shared<TailOptions>();
  command->add_option("-n", options->count, "how many (default 20)")->type_name("N");
  command->add_flag("-f,--follow", options->follow, "go on with those to come");
  command
      ->add_option("--stream", options->stream, "only streams that start with this (default: all)")
      ->type_name("PREFIX");
  command->add_option("--type", options->type, "only events of this type (default: all)")
      ->type_name("EVENT");
  command->callback([&session, options] {
    session.action = [&session, options] { return tail(session, *options); };
  });
}

// ---- show ------------------------------------------------------------------------------------

ExitCode show(Session& session, const std::string& name) {
  const std::string dsn = log_dsn(session);
  LogSource source(dsn);
  std::vector<std::string> streams = source.streams_named(name);
  if (streams.empty() && !canonical_uuid(name) && name.find('-') == std::string::npos) {
    const std::string id =
        resolve(session.api(), kResources + "instances", name, "stream or instance");
    streams = source.streams_named(id);
  }
  if (streams.empty()) {
    throw Failure(ExitCode::not_found, "there is no stream " + printable(name));
  }
  return reading([&] {
    eventlog::Log log(dsn);
    std::vector<eventlog::RecordedEvent> events;
    for (const std::string& stream : streams) {
      auto more = log.read_stream(stream, 0);
      std::move(more.begin(), more.end(), std::back_inserter(events));
    }
    std::sort(events.begin(), events.end(),
              [](const auto& a, const auto& b) { return a.position < b.position; });
    for (const auto& event : events) print_event(session, event);
    return ExitCode::ok;
  });
}

void add_show(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "show", "all events of a stream");
  auto name = std::make_shared<std::string>();
  command->add_option("stream", *name, "instance-UUID, a UUID, or an instance's name")
      ->required()
      ->type_name("STREAM");
  command->callback([&session, name] {
    session.action = [&session, name] { return show(session, *name); };
  });
}

// ---- at --------------------------------------------------------------------------------------

bool is_position(const std::string& text) {
  return !text.empty() && text.size() <= 18 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

ExitCode at(Session& session, const std::string& when, const std::string& instance) {
  const auto time = parse_rfc3339(when);
  if (!time && !is_position(when)) {
    throw Failure(ExitCode::usage, "want a position or an RFC 3339 time such as "
                                   "2026-01-15T10:30:00Z, not " + printable(when));
  }
  if (!instance.empty()) {
    const std::string collection = kResources + "instances";
    const std::string id = resolve(session.api(), collection, instance, "instance");
    session.print_json(session.api().get(collection + "/" + id, {{"at", when}}));
    return ExitCode::ok;
  }
  LogSource source(log_dsn(session));
  const LogMoment moment = time ? source.at_time(*time) : source.at_position(std::stoll(when));
  session.print_document(
      {{"position", "position"}, {"events", "events"}, {"streams", "streams"}},
      {{"position", moment.position}, {"events", moment.events}, {"streams", moment.streams}});
  return ExitCode::ok;
}

void add_at(CLI::App& group, Session& session) {
  CLI::App* command = add_command(group, "at", "the past: the log, or an instance, as of then");
  auto when = std::make_shared<std::string>();
  auto instance = std::make_shared<std::string>();
  command->add_option("when", *when, "RFC 3339 time or position")->required()->type_name("WHEN");
  command->add_option("--instance", *instance,
                      "name, or UUID also of a deleted one (default: the whole log)")
      ->type_name("NAME");
  command->callback([&session, when, instance] {
    session.action = [&session, when, instance] { return at(session, *when, *instance); };
  });
}

// ---- verify ----------------------------------------------------------------------------------

ExitCode verify(Session& session) {
  const std::string dsn = log_dsn(session);
  LogSource source(dsn);
  const int64_t last = source.last_position();
  eventlog::Verifier verifier;
  const auto begin = std::chrono::steady_clock::now();
  reading([&] {
    eventlog::read_bulk(dsn, 0, last,
                        [&](eventlog::RecordedEvent&& event) { verifier.check(event); });
    return true;
  });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const std::vector<LostEvents> lost = source.lost_events();
  const bool sound = verifier.damage().empty() && lost.empty();

  Json damage = Json::array();
  for (const eventlog::Damage& one : verifier.damage()) {
    damage.push_back({{"position", one.position},
                      {"stream", one.stream},
                      {"version", one.version},
                      {"what", one.what}});
  }
  for (const LostEvents& one : lost) {
    damage.push_back({{"command_id", one.command_id}, {"what", one.what}});
  }
  if (session.json) {
    session.print_json({{"sound", sound},
                        {"events", verifier.events()},
                        {"streams", verifier.streams()},
                        {"last_position", last},
                        {"seconds", took.count()},
                        {"damage", damage}});
  } else {
    for (const Json& one : damage) {
      const bool event = one.contains("position");
      session.terminal.out << "DAMAGE  "
                           << printable(event ? "position " + text_of(one, "position") +
                                                    ", stream " + text_of(one, "stream") +
                                                    ", version " + text_of(one, "version")
                                              : "command " + text_of(one, "command_id"))
                           << ": " << printable(text_of(one, "what")) << "\n";
    }
    session.terminal.out << (sound ? "sound: " : "DAMAGED: ") << verifier.events()
                         << " events in " << verifier.streams() << " streams up to position "
                         << last << ", " << damage.size() << " faults, " << std::fixed
                         << std::setprecision(2) << took.count() << " s\n";
  }
  return sound ? ExitCode::ok : ExitCode::log_damaged;
}

// ---- stats, and what lookup does ---------------------------------------------------------------

std::string rate(double per_second) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << per_second;
  return out.str();
}

ExitCode stats(Session& session) {
  LogSource source(log_dsn(session));
  const LogStats stats = source.stats();
  Json types = Json::array();
  for (const TypeCount& type : stats.types) {
    types.push_back({{"aggregate", type.aggregate},
                     {"type", type.type},
                     {"events", type.events},
                     {"payload_bytes", type.payload_bytes}});
  }
  Json document = {{"events", stats.events},
                   {"streams", stats.streams},
                   {"commands", stats.commands},
                   {"last_position", stats.last_position},
                   {"first_at", stats.first_at ? Json(format_rfc3339(*stats.first_at)) : Json()},
                   {"last_at", stats.last_at ? Json(format_rfc3339(*stats.last_at)) : Json()},
                   {"size_bytes", stats.table_bytes},
                   {"per_second_last_minute", rate(stats.per_second_1m)},
                   {"per_second_last_hour", rate(stats.per_second_1h)}};
  if (session.json) {
    document["per_second_last_minute"] = stats.per_second_1m;
    document["per_second_last_hour"] = stats.per_second_1h;
    document["types"] = types;
    session.print_json(document);
    return ExitCode::ok;
  }
  session.print_document({{"events", "events"},
                          {"streams", "streams"},
                          {"commands answered", "commands"},
                          {"last position", "last_position"},
                          {"first event", "first_at"},
                          {"last event", "last_at"},
                          {"size with indexes", "size_bytes"},
                          {"events/s, last minute", "per_second_last_minute"},
                          {"events/s, last hour", "per_second_last_hour"}},
                         document);
  if (types.empty()) return ExitCode::ok;
  session.terminal.out << "\n";
  session.print_rows({{"AGGREGATE", "aggregate"},
                      {"TYPE", "type"},
                      {"EVENTS", "events", true},
                      {"BYTES", "payload_bytes", true}},
                     std::vector<Json>(types.begin(), types.end()));
  return ExitCode::ok;
}

void add_plain(CLI::App& group, Session& session, const std::string& name,
               const std::string& about, ExitCode (*action)(Session&)) {
  CLI::App* command = add_command(group, name, about);
  command->callback(
      [&session, action] { session.action = [&session, action] { return action(session); }; });
}

// Lookup does it; the gateway passes it on (administrators only).
ExitCode ask_lookup(Session& session, const std::string& operation) {
  const auto written =
      session.api().post(kReadModel + operation, Json::object(), kReadModelPatience);
  if (text_of(written.document, "ok") == "false") {
    throw Failure(ExitCode::unavailable, printable(text_of(written.document, "error")));
  }
  std::vector<Field> fields;
  if (written.document.is_object()) {
    for (const auto& [name, value] : written.document.items()) fields.push_back({name, name});
  }
  session.print_document(fields, written.document);
  return ExitCode::ok;
}

}  // namespace

void add_log(CLI::App& app, Session& session) {
  CLI::App* group = add_group(app, "log", "the event log, which is the truth");
  add_tail(*group, session);
  add_show(*group, session);
  add_at(*group, session);
  add_plain(*group, session, "verify", "check every event's hash and chain (exit 6: damage)",
            verify);
  add_plain(*group, session, "stats", "events, streams, size, rate", stats);
  add_plain(*group, session, "rebuild", "make the read model anew from the log",
            [](Session& s) { return ask_lookup(s, "rebuild"); });
  add_plain(*group, session, "checksum", "of the read model's documents",
            [](Session& s) { return ask_lookup(s, "checksum"); });
  add_plain(*group, session, "retry-poison", "try events again that could not be projected",
            [](Session& s) { return ask_lookup(s, "retry-poison"); });
}

}  // namespace trunkline::cli
