// Questions and answers, on real servers.
#include "lookup/tests/lookup_fixture.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::lookup {
namespace {

using namespace testing;

TEST_F(LookupTest, AReadSeesTheWriteWhosePositionItNames) {
  Service service(*servers);
  for (int round = 0; round < 20; ++round) {
    const std::string name = "written " + std::to_string(round);
    const int64_t position = writer.instance(name, created(name));
    const auto answer = service.ask(get(v1::KIND_INSTANCE, id(name), position));
    ASSERT_EQ(answer.status(), v1::QUERY_STATUS_OK) << answer.message();
    EXPECT_EQ(json::parse(answer.json(0)).at("name"), name);
    EXPECT_GE(static_cast<int64_t>(answer.position()), position);
  }
}

TEST_F(LookupTest, APositionThatDoesNotComeIsAnsweredBehind) {
  Service service(*servers);
  ASSERT_TRUE(await([&] { return service.projector.ready(); }));
  const auto started = std::chrono::steady_clock::now();
  const auto answer = service.ask(get(v1::KIND_INSTANCE, id("x"), 1'000'000'000));
  EXPECT_EQ(answer.status(), v1::QUERY_STATUS_BEHIND);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::milliseconds(2500));
}

TEST_F(LookupTest, SeesOnlyItsProject) {
  Service service(*servers);
  const int64_t at = running_pair("private", kOtherProject);
  auto asked = get(v1::KIND_INSTANCE, id("private"), at);
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_NOT_FOUND);
  asked.mutable_scope()->set_project_id(kOtherProject);
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_OK);
  asked.mutable_scope()->set_project_id("");
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_NOT_FOUND);
  asked.mutable_scope()->set_all_projects(true);
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_OK);
  v1::Query past = query(at);
  past.mutable_list_events()->set_instance_id(id("private"));
  EXPECT_EQ(service.ask(past).status(), v1::QUERY_STATUS_NOT_FOUND);
}

TEST_F(LookupTest, CachedAndLoadedDocumentsAreTheSameText) {
  Service service(*servers);
  const int64_t at = running_pair("same text");
  const auto cached = service.ask(get(v1::KIND_INSTANCE, id("same text"), at));
  service.cache.clear();
  const auto loaded = service.ask(get(v1::KIND_INSTANCE, id("same text"), at));
  ASSERT_EQ(loaded.status(), v1::QUERY_STATUS_OK);
  EXPECT_EQ(cached.json(0), loaded.json(0));
  EXPECT_GE(service.cache.size(), 1u);
}

TEST_F(LookupTest, DeletedIsGoneAndItsHistoryStays) {
  Service service(*servers);
  const int64_t at = running_pair("deleted");
  writer.instance("deleted", user_created("ann"));
  const int64_t gone = writer.instance("deleted", deletion_started());
  EXPECT_EQ(service.ask(get(v1::KIND_INSTANCE, id("deleted"), gone)).status(),
            v1::QUERY_STATUS_NOT_FOUND);
  EXPECT_EQ(service.ask(get(v1::KIND_USER, id("user ann"), gone, id("deleted"))).status(),
            v1::QUERY_STATUS_NOT_FOUND);
  auto past = get(v1::KIND_INSTANCE, id("deleted"), gone);
  past.mutable_get_resource()->set_at_position(at);
  const auto then = service.ask(past);
  ASSERT_EQ(then.status(), v1::QUERY_STATUS_OK);
  EXPECT_EQ(json::parse(then.json(0)).at("status"), "ACTIVE");
  past.mutable_get_resource()->set_at_position(gone);
  EXPECT_EQ(service.ask(past).status(), v1::QUERY_STATUS_NOT_FOUND);
  past.mutable_get_resource()->set_at_position(0);
  past.mutable_get_resource()->set_at_unix_us(1);
  EXPECT_EQ(service.ask(past).status(), v1::QUERY_STATUS_NOT_FOUND);

  v1::Query events = query(gone);
  events.mutable_list_events()->set_instance_id(id("deleted"));
  events.mutable_list_events()->set_limit(4);
  std::vector<std::string> types;
  for (int page = 0; page < 10; ++page) {
    const auto answer = service.ask(events);
    ASSERT_EQ(answer.status(), v1::QUERY_STATUS_OK);
    for (const auto& text : answer.json()) {
      EXPECT_EQ(text.find("SCRAM"), std::string::npos);
      types.push_back(json::parse(text).at("type"));
    }
    if (answer.next_marker().empty()) break;
    events.mutable_list_events()->set_after_position(std::stoll(answer.next_marker()));
  }
  EXPECT_EQ(types, (std::vector<std::string>{
                       "instance_created", "node_placed", "node_placed", "primary_assigned",
                       "standby_assigned", "primary_opened", "standby_streaming",
                       "instance_activated", "user_created", "instance_deletion_started"}));
}

TEST_F(LookupTest, FiltersAreExactAndRepeatedOnesAreAnyOf) {
  Service service(*servers);
  const std::string project = id("project of filters");
  int64_t at = 0;
  for (const char* name : {"ab", "abc", "O'Reilly", "\\", "{\"x\"}"}) {
    at = writer.instance(name, created(name, project));
  }
  at = writer.instance("abc", placed("filter node", "host-a", "127.0.0.99"));
  writer.group("abc", primary_opened("filter node", 1));
  at = writer.instance("ab", resized(64));
  struct Row {
    const char* field;
    std::vector<std::string> any_of;
    std::vector<std::string> expected;
  };
  const Row rows[] = {
      {"name", {"ab"}, {"ab"}},
      {"name", {"ab", "abc"}, {"ab", "abc"}},
      {"name", {"AB"}, {}},
      {"name", {"O'Reilly"}, {"O'Reilly"}},
      {"name", {"\\"}, {"\\"}},
      {"name", {"{\"x\"}"}, {"{\"x\"}"}},
      {"name", {std::string("a\0b", 3)}, {}},
      {"cpu", {"64"}, {"ab"}},
      {"cpu", {"6"}, {}},
      {"status", {"IN_PROGRESS"}, {"abc"}},
      {"ipsv4", {"127.0.0.99"}, {"abc"}},
      {"ipsv4", {"127.0.0"}, {}},
      {"project_id", {project}, {"ab", "abc", "O'Reilly", "\\", "{\"x\"}"}},
      {"project_id", {kOtherProject}, {}},
      {"uuid", {id("ab"), "no uuid"}, {"ab"}},
      {"version", {std::string("/v1/postgres/versions/") + kVersionId},
       {"ab", "abc", "O'Reilly", "\\", "{\"x\"}"}},
  };
  for (const Row& row : rows) {
    v1::Query asked = list(v1::KIND_INSTANCE, at, project);
    auto& filter = *asked.mutable_list_resources()->add_filters();
    filter.set_field(row.field);
    for (const auto& value : row.any_of) filter.add_any_of(value);
    const auto answer = service.ask(asked);
    EXPECT_EQ(answer.status(), v1::QUERY_STATUS_OK) << answer.message();
    EXPECT_EQ(names(answer), row.expected) << row.field << " " << row.any_of.front();
  }
  for (const char* field : {"password", "nodes", "doc->>'x'", "", "Name"}) {
    v1::Query asked = list(v1::KIND_INSTANCE, at, project);
    asked.mutable_list_resources()->add_filters()->set_field(field);
    EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_BAD_FIELD) << field;
  }
  for (const char* field : {"password", "ipsv4", "error", "doc->>'x'", "Name"}) {
    v1::Query asked = list(v1::KIND_INSTANCE, at, project);
    asked.mutable_list_resources()->set_sort_key(field);
    EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_BAD_FIELD) << field;
  }
}

// Rows come and go between the pages: what was there all the time is seen exactly once.
TEST_F(LookupTest, PagesAreStableWhileRowsComeAndGo) {
  Service service(*servers);
  for (const char* sort_key : {"", "name", "cpu", "uuid", "updated_at"}) {
    for (const bool descending : {false, true}) {
      const std::string run = std::string("page ") + sort_key + (descending ? " down" : " up");
      const std::string project = id(run);
      std::map<std::string, int> seen;
      int64_t at = 0;
      for (int i = 0; i < 10; ++i) {
        const std::string name = run + " row " + std::to_string(i * 7 % 10);
        at = writer.instance(name, created(name, project));
        seen[id(name)] = 0;
      }
      v1::Query asked = list(v1::KIND_INSTANCE, at, project);
      auto& wanted = *asked.mutable_list_resources();
      wanted.set_limit(3);
      wanted.set_sort_key(sort_key);
      wanted.set_descending(descending);
      int pages = 0;
      while (true) {
        const auto answer = service.ask(asked);
        ASSERT_EQ(answer.status(), v1::QUERY_STATUS_OK) << answer.message();
        for (const auto& text : answer.json()) {
          const auto it = seen.find(json::parse(text).at("uuid"));
          if (it != seen.end()) ++it->second;
        }
        if (answer.next_marker().empty()) break;
        ASSERT_LT(++pages, 20);
        // The marker's own row goes away, and another one comes.
        const std::string extra = run + " extra " + std::to_string(pages);
        writer.instance(extra, created(extra, project));
        for (int i = 0; i < 10; ++i) {
          const std::string name = run + " row " + std::to_string(i);
          if (id(name) != answer.next_marker()) continue;
          asked.set_min_position(
              static_cast<uint64_t>(writer.instance(name, deletion_started())));
        }
        wanted.set_marker(answer.next_marker());
      }
      for (const auto& [uuid, times] : seen) EXPECT_EQ(times, 1) << run;
    }
  }
}

TEST_F(LookupTest, SortsNumbersAsNumbers) {
  Service service(*servers);
  const std::string project = id("project of numbers");
  int64_t at = 0;
  for (const uint32_t cpu : {10u, 9u, 100u}) {
    const std::string name = "cpu " + std::to_string(cpu);
    writer.instance(name, created(name, project));
    at = writer.instance(name, resized(cpu));
  }
  v1::Query asked = list(v1::KIND_INSTANCE, at, project);
  asked.mutable_list_resources()->set_sort_key("cpu");
  EXPECT_EQ(names(service.ask(asked)), (std::vector<std::string>{"cpu 9", "cpu 10", "cpu 100"}));
}

TEST_F(LookupTest, AnUnknownMarkerIsABadField) {
  Service service(*servers);
  for (const std::string& marker : {id("nowhere"), std::string("x'; DROP TABLE")}) {
    v1::Query asked = list(v1::KIND_INSTANCE, 0, kProject);
    asked.mutable_list_resources()->set_marker(marker);
    ASSERT_TRUE(await([&] { return service.projector.ready(); }));
    EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_BAD_FIELD);
  }
}

TEST_F(LookupTest, TokensAreFoundByHashUntilTheyAreRevoked) {
  Service service(*servers);
  const std::string hash = std::string(60, 'b') + "0123";
  v1::Query asked = query(writer.token("ci", token_created("ci", hash)));
  asked.mutable_find_token()->set_sha256(hash);
  const auto found = service.ask(asked);
  ASSERT_EQ(found.json_size(), 1);
  EXPECT_EQ(json::parse(found.json(0)).at("role"), "member");
  service.cache.clear();
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_OK);
  asked.set_min_position(static_cast<uint64_t>(writer.token("ci", token_revoked())));
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_NOT_FOUND);
}

TEST_F(LookupTest, AnExpiredTokenIsNotFound) {
  Service service(*servers);
  const std::string hash = std::string(60, 'c') + "0123";
  auto event = token_created("old", hash);
  event.mutable_token_created()->set_expires_unix_us(1'000'000);
  v1::Query asked = query(writer.token("old", event));
  asked.mutable_find_token()->set_sha256(hash);
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_NOT_FOUND);
}

TEST_F(LookupTest, OperationsShowWhatBecameOfACommand) {
  Service service(*servers);
  writer.instance("operated", created("operated"));
  const std::string accepted = writer.last_command();
  v1::CommandAnswer refusal;
  refusal.mutable_rejected()->set_rule("name_in_use");
  refusal.mutable_rejected()->set_blame(v1::BLAME_CONFLICT);
  writer.result(id("refused command"), refusal.SerializeAsString());
  ASSERT_TRUE(await([&] {
    const auto answer = service.ask(get(v1::KIND_OPERATION, accepted));
    return answer.json_size() == 1 && json::parse(answer.json(0)).at("status") != "PENDING";
  }));
  const json done = json::parse(service.ask(get(v1::KIND_OPERATION, accepted)).json(0));
  EXPECT_EQ(done.at("status"), "SUCCEEDED");
  EXPECT_EQ(done.at("resource"), "/v1/types/postgres/instances/" + id("operated"));
  auto foreign = get(v1::KIND_OPERATION, accepted);
  foreign.mutable_scope()->set_project_id(kOtherProject);
  EXPECT_EQ(service.ask(foreign).status(), v1::QUERY_STATUS_NOT_FOUND);
  const json failed =
      json::parse(service.ask(get(v1::KIND_OPERATION, id("refused command"))).json(0));
  EXPECT_EQ(failed.at("status"), "FAILED");
  EXPECT_EQ(failed.at("error").at("code"), 409);
  writer.result(id("refused to another"), refusal.SerializeAsString(),
                json{{"project_id", kOtherProject}}.dump());
  v1::Query of_another = get(v1::KIND_OPERATION, id("refused to another"));
  of_another.mutable_scope()->set_all_projects(true);
  EXPECT_EQ(service.ask(of_another).json_size(), 1);
  of_another.mutable_scope()->set_all_projects(false);
  of_another.mutable_scope()->set_project_id(kOtherProject);
  EXPECT_EQ(service.ask(of_another).json_size(), 1);
  of_another.mutable_scope()->set_project_id(kProject);
  EXPECT_EQ(service.ask(of_another).status(), v1::QUERY_STATUS_NOT_FOUND);
  EXPECT_EQ(service.ask(get(v1::KIND_OPERATION, id("no command"))).status(),
            v1::QUERY_STATUS_NOT_FOUND);
}

TEST_F(LookupTest, TheAuditLogIsPagedNewestFirstAndEachProjectsOwn) {
  Service service(*servers);
  const std::string ours = id("audited project"), theirs = id("another audited project");
  v1::CommandAnswer refusal;
  refusal.mutable_rejected()->set_rule("name_in_use");
  for (int i = 0; i < 5; ++i) {
    const json audit = {{"actor", i == 0 ? "token:x" : "token:y"},
                        {"project_id", i == 2 ? theirs : ours},
                        {"command", "c" + std::to_string(i)},
                        {"outcome", i % 2 == 0 ? "rejected" : "ignored"}};
    writer.result(id("audited " + std::to_string(i)), refusal.SerializeAsString(), audit.dump());
  }
  writer.result(id("not audited"), refusal.SerializeAsString());
  v1::Query query;
  query.mutable_scope()->set_project_id(ours);
  v1::ListAudit& wish = *query.mutable_list_audit();
  const auto commands = [&] {
    std::string out;
    const auto answer = service.ask(query);
    for (const auto& entry : answer.json()) out += json::parse(entry).at("command");
    wish.set_marker(answer.next_marker());
    return out;
  };
  ASSERT_TRUE(await([&] { return service.ask(query).status() == v1::QUERY_STATUS_OK; }));
  EXPECT_EQ(commands(), "c4c3c1c0");
  wish.set_limit(2);
  EXPECT_EQ(commands(), "c4c3");
  EXPECT_EQ(commands(), "c1c0");
  EXPECT_EQ(wish.marker(), "");
  wish.set_outcome("rejected");
  EXPECT_EQ(commands(), "c4c0");
  wish.set_actor("token:x");
  EXPECT_EQ(commands(), "c0");
  wish.set_actor("x' OR true --");
  EXPECT_EQ(commands(), "");
  wish.Clear();
  wish.set_project_id(theirs);
  EXPECT_EQ(commands(), "");
  query.mutable_scope()->set_all_projects(true);
  EXPECT_EQ(commands(), "c2");
  wish.set_project_id(ours);
  const int64_t last = to_unix_us(
      *parse_rfc3339(json::parse(service.ask(query).json(0)).at("time").get<std::string>()));
  wish.set_to_unix_us(last);
  EXPECT_EQ(commands(), "c3c1c0");
  wish.set_to_unix_us(0);
  wish.set_from_unix_us(last);
  EXPECT_EQ(commands(), "c4");
  wish.set_marker("none of ours");
  EXPECT_EQ(service.ask(query).status(), v1::QUERY_STATUS_BAD_FIELD);
}

TEST_F(LookupTest, LiveStateStandsBesideTheDocument) {
  Service service(*servers);
  const int64_t at = running_pair("live");
  const auto report_of = [&](const std::string& host, uint64_t sequence) {
    v1::HostReport report;
    report.set_host(host);
    report.set_agent_id("agent");
    report.set_sequence(sequence);
    return report;
  };
  auto report = report_of("host-a", 1);
  auto& node = *report.add_nodes();
  node.set_node_id(id("live a"));
  node.set_instance_id(id("live"));
  node.set_postgres(v1::POSTGRES_STATE_OPEN);
  node.set_data_bytes(39'000'000);
  auto& standby = *node.add_standbys();
  standby.set_node_id(id("live b"));
  standby.set_sync_state("quorum");
  standby.set_lag_bytes(4096);
  // A host cannot speak for another one's node.
  auto forged = report_of("host-c", 1);
  forged.add_nodes()->set_node_id(id("live a"));
  auto other = report_of("host-b", 1);
  other.add_nodes()->set_node_id(id("live b"));
  const auto now = *parse_rfc3339("2026-01-15T10:30:00Z");
  service.live.take("host-c", forged, now);
  service.live.take("host-b", other, now);
  service.live.take("host-b", report, now);  // names another host: ignored
  service.live.take("host-a", report, now);
  auto stale = report_of("host-a", 1);
  service.live.take("host-a", stale, now);  // not newer than the last one: ignored
  const json nodes =
      json::parse(service.ask(get(v1::KIND_INSTANCE, id("live"), at)).json(0)).at("nodes");
  EXPECT_EQ(nodes[0].at("lag_bytes"), 0);
  EXPECT_EQ(nodes[0].at("data_bytes"), 39'000'000);
  EXPECT_EQ(nodes[0].at("postgres"), "open");
  EXPECT_EQ(nodes[0].at("reported_at"), "2026-01-15T10:30:00.000000Z");
  EXPECT_EQ(nodes[1].at("lag_bytes"), 4096);
  EXPECT_EQ(nodes[1].at("sync_state"), "quorum");
}

TEST_F(LookupTest, SessionsThatAreTiedToTheirServerAreShownWithTheReason) {
  Service service(*servers);
  const auto now =
      std::chrono::time_point_cast<TimePoint::duration>(std::chrono::system_clock::now());
  const int64_t at = running_pair("tied");
  const auto shown = [&] {
    return json::parse(service.ask(get(v1::KIND_INSTANCE, id("tied"), at)).json(0));
  };
  EXPECT_FALSE(shown().contains("pinned_sessions"));
  v1::TrafficReport report;
  report.set_proxy_id("proxy");
  report.set_epoch("e");
  report.set_sequence(2);
  auto& entry = *report.add_endpoints();
  entry.set_instance_id(id("tied"));
  entry.set_pinned_sessions(3);
  auto& reason = *entry.add_pinned();
  reason.set_why("LISTEN");
  reason.set_sessions(3);
  service.live.take_traffic("other", report, now);  // speaks for another
  EXPECT_FALSE(shown().contains("pinned_sessions"));
  service.live.take_traffic("proxy", report, now);
  const json why = {{{"reason", "LISTEN"}, {"sessions", 3}}};
  EXPECT_EQ(shown().at("pinned_sessions"), (json{{"sessions", 3}, {"why", why}}));
  entry.Clear();
  entry.set_instance_id(id("tied"));
  report.set_sequence(1);  // older
  service.live.take_traffic("proxy", report, now);
  EXPECT_TRUE(shown().contains("pinned_sessions"));
  report.set_sequence(3);
  service.live.take_traffic("proxy", report, now);
  EXPECT_FALSE(shown().contains("pinned_sessions"));
}

TEST_F(LookupTest, AHostShowsWhatIsPlacedOnIt) {
  Service service(*servers);
  int64_t at = writer.host("host-u", host_registered("host-u"));
  writer.instance("using", created("using"));
  at = writer.instance("using", placed("using a", "host-u", "127.0.0.50"));
  auto asked = get(v1::KIND_HOST, uuid_from_name("host/host-u"), at);
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_NOT_FOUND);
  asked.mutable_scope()->set_all_projects(true);
  const json host = json::parse(service.ask(asked).json(0));
  EXPECT_EQ(host.at("placed"), (json{{"nodes", 1}, {"cpu", 2}, {"ram", 1024}, {"disk_size", 10}}));
  EXPECT_EQ(host.at("available"), false);
}

// The table has what the bus cannot carry, and nothing waits behind it.
TEST_F(LookupTest, AnEventThatIsTooLargeForTheBusHoldsUpNothing) {
  Service service(*servers);
  writer.instance("large", created("large"));
  v1::InstanceEvent huge = renamed("large");
  huge.mutable_instance_renamed()->set_description(std::string(1'500'000, 'x'));
  writer.instance("large", huge);
  const int64_t at = writer.instance("large", renamed("still there"));
  const auto answer = service.ask(
      list(v1::KIND_INSTANCE, at, kProject));  // the document itself is too large for a page
  EXPECT_EQ(answer.status(), v1::QUERY_STATUS_OK) << answer.message();
}

// One project's histories hang; what others ask, and what it asks besides, is answered meanwhile,
// and the histories end by themselves.
TEST_F(LookupTest, HistoriesOfOneProjectHoldUpNobody) {
  Service service(*servers);
  const int64_t at = running_pair("fair");
  writer.instance("fair other", created("fair other", kOtherProject));
  ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("fair"), at)).status(), v1::QUERY_STATUS_OK);
  pqxx::connection holder(servers->postgres.dsn("trunkline_log"));
  auto held = std::make_unique<pqxx::work>(holder);
  held->exec0("LOCK TABLE log.event IN ACCESS EXCLUSIVE MODE");
  auto asker = bus::Bus::connect({servers->nats.url(), "test", "test", "asker"},
                                 std::chrono::seconds(5));
  std::atomic<int> answered{0}, unavailable{0}, too_many{0};
  constexpr int kAsked = 400;
  for (int i = 0; i < kAsked; ++i) {
    v1::Query history = query(0);
    history.mutable_list_events()->set_instance_id(id("fair"));
    asker->request_async(bus::kLookupSubject, history.SerializeAsString(), kSoon,
                         [&](std::optional<bus::Message> message) {
                           v1::QueryAnswer answer;
                           if (message && answer.ParseFromString(message->data)) {
                             unavailable += answer.status() == v1::QUERY_STATUS_UNAVAILABLE;
                             too_many += answer.status() == v1::QUERY_STATUS_TOO_MANY;
                           }
                           ++answered;
                         });
  }
  ASSERT_TRUE(await([&] { return too_many > 0; })) << "more wait than may";
  for (const char* project : {kOtherProject, kProject}) {
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_EQ(service.ask(list(v1::KIND_INSTANCE, 0, project)).status(), v1::QUERY_STATUS_OK);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2)) << project;
  }
  ASSERT_TRUE(await([&] { return unavailable > 0; })) << "the one that runs ends in time";
  held.reset();
  // Of those that waited too long nothing is worked on any more.
  ASSERT_TRUE(await([&] {
    v1::Query history = query(0);
    history.mutable_list_events()->set_instance_id(id("fair"));
    return service.ask(history).status() == v1::QUERY_STATUS_OK;
  }));
  asker.reset();
}

}  // namespace
}  // namespace trunkline::lookup
