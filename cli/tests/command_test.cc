#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "cli/tests/command_harness.h"
#include "cli/tests/fake_api.h"
#include "testing/temp_servers.h"

namespace trunkline::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kId = "0b9f6b3e-1111-4000-8000-000000000001";
const std::string kUserId = "0b9f6b3e-2222-4000-8000-000000000002";
const std::string kVersionId = "0b9f6b3e-3333-4000-8000-000000000003";
const std::string kInstances = "/v1/postgres/instances";
const std::string kOne = kInstances + "/" + kId;

std::string instance_json(const std::string& status) {
  return R"({"uuid":")" + kId + R"(","name":"demo","status":")" + status +
         R"(","cpu":1,"ram":1024,"disk_size":8,"nodes_number":1,"sync_replica_number":0)" +
         (status == "ERROR" ? R"(,"error":{"code":"nothing_fits","message":"no host has room"}})"
                            : "}");
}

class CommandTest : public ::testing::Test {
 protected:
  CommandTest() {
    token_file_ = directory_.path() + "/token";
    std::ofstream(token_file_) << "tl_secret-token\n";
    api_.lay_down("GET /v1/postgres/versions",
                  {{200, R"({"versions":[{"uuid":")" + kVersionId + R"(","name":"15"}]})", {}}});
  }

  Ran command(const std::vector<std::string>& arguments, const std::string& input = {}) {
    return run_command(arguments,
                       {{"TRUNKLINE_API", api_.url()},
                        {"TRUNKLINE_TOKEN_FILE", token_file_},
                        {"TRUNKLINE_HOME", directory_.path()}},
                       input);
  }
  void refuse(const std::string& what, int status, const std::string& type) {
    api_.lay_down(what, {{status, R"({"type":")" + type + R"(","code":)" +
                                      std::to_string(status) + R"(,"message":"because"})", {}}});
  }
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  trunkline::testing::TempDirectory directory_;
  FakeApi api_;
  std::string token_file_;
};

TEST_F(CommandTest, AFollowedLogGoesOnWhereItsAnswerEnded) {
  api_.lay_down("GET " + kOne, {{200, instance_json("ACTIVE"), {}}});
  api_.lay_down("GET " + kOne + "/logs",
                {{200, "one\n", {}, {"X-Log-Place: n.1.4"}},
                 {200, "", {}, {"X-Log-Place: n.1.4"}},
                 {200, "two\n", {}, {"X-Log-Place: n.1.8"}},
                 {404, R"({"type":"not_found","code":404,"message":"no node"})", {}}});
  const Ran ran = command({"logs", "-f", "-n", "7", kId});
  EXPECT_EQ(ran.out, "one\ntwo\n");
  EXPECT_EQ(ran.code, static_cast<int>(ExitCode::not_found)) << ran.err;
  std::vector<std::string> asked;
  for (const auto& request : api_.requests()) {
    if (request.target.find("/logs?") != std::string::npos) {
      asked.push_back(request.target.substr(request.target.find('?')));
    }
  }
  EXPECT_EQ(asked, (std::vector<std::string>{
                       "?limit=7&follow=true", "?from=n.1.4&follow=true",
                       "?from=n.1.4&follow=true", "?from=n.1.8&follow=true"}));
}

TEST_F(CommandTest, ExitCodesFollowTheApisAnswer) {
  struct Row {
    int status;
    std::string type;
    int code;
  };
  const Row rows[] = {
      {400, "bad_value", 2},  {401, "bad_token", 2},   {403, "forbidden", 2},
      {404, "not_found", 3},  {405, "no_such", 2},     {409, "in_use", 2},
      {413, "too_large", 2},  {429, "too_many", 4},    {500, "internal", 4},
      {503, "unavailable", 4},
  };
  for (const Row& row : rows) {
    refuse("GET " + kOne, row.status, row.type);
    const Ran ran = command({"instances", "get", kId});
    EXPECT_EQ(ran.code, row.code) << row.status;
    EXPECT_EQ(ran.err, "trunkline: " + row.type + ": because\n");
    EXPECT_EQ(ran.out, "");
  }
}

TEST_F(CommandTest, WrongArgumentsAreExitCodeOne) {
  const std::vector<std::vector<std::string>> rows = {
      {},
      {"nonsense"},
      {"instances"},
      {"instances", "get"},
      {"instances", "create"},
      {"instances", "list", "-o", "xml"},
      {"instances", "create", "--name", "x", "--cpu", "many"},
      {"instances", "list", "--filter", "no-equals"},
      {"instances", "update", kId},
      {"users", "list"},
      {"users", "create", "--instance", kId, "--name", "u", "--password", "on-the-command-line"},
      {"operations", "get", "not-a-uuid"},
      {"log", "at", "yesterday"},
      {"instances", "delete", kId, "--timeout", "x"},
  };
  for (const auto& arguments : rows) {
    const Ran ran = command(arguments);
    EXPECT_EQ(ran.code, 1) << ::testing::PrintToString(arguments) << ran.out;
    EXPECT_THAT(ran.err, ::testing::StartsWith("trunkline: "));
  }
  EXPECT_EQ(command({"instances", "--help"}).code, 0);
}

TEST_F(CommandTest, AnApiThatIsAwayIsExitCodeFour) {
  EXPECT_EQ(run_command({"instances", "list", "--api",
                         "http://127.0.0.1:" + std::to_string(trunkline::testing::free_port())},
                        {})
                .code,
            4);
  EXPECT_EQ(run_command({"instances", "list"}, {{"TRUNKLINE_HOME", "/nonexistent"}}).code, 4);
}

TEST_F(CommandTest, ABodyThatIsNotJsonIsExitCodeFour) {
  api_.lay_down("GET " + kOne, {{200, "<html>proxy login</html>", {}}});
  EXPECT_EQ(command({"instances", "get", kId}).code, 4);
}

TEST_F(CommandTest, AnInstanceIsPrintedAsTableOrJson) {
  api_.lay_down("GET " + kOne, {{200, instance_json("ACTIVE"), {}}});
  const Ran table = command({"instances", "get", kId});
  EXPECT_EQ(table.code, 0);
  EXPECT_THAT(table.out, HasSubstr("name:         demo\n"));
  const Ran json = command({"-o", "json", "instances", "get", kId});
  EXPECT_EQ(Json::parse(json.out), Json::parse(instance_json("ACTIVE")));
  // common options may stand anywhere
  EXPECT_EQ(command({"instances", "get", kId, "-o", "json"}).out, json.out);
}

TEST_F(CommandTest, ANameIsResolvedWhereItIsUnique) {
  api_.lay_down("GET " + kInstances, {{200, "[" + instance_json("ACTIVE") + "]", {}}});
  api_.lay_down("GET " + kOne, {{200, instance_json("ACTIVE"), {}}});
  EXPECT_EQ(command({"instances", "get", "demo & co"}).code, 0);
  EXPECT_THAT(api_.requests()[0].target, HasSubstr("name=demo%20%26%20co"));
  EXPECT_EQ(api_.requests()[1].target, kOne);

  api_.lay_down("GET " + kInstances, {{200, "[]", {}}});
  EXPECT_EQ(command({"instances", "get", "demo"}).code, 3);

  api_.lay_down("GET " + kInstances, {{200, R"([{"uuid":"u-1"},{"uuid":"u-2"}])", {}}});
  const Ran several = command({"instances", "get", "demo"});
  EXPECT_EQ(several.code, 1);
  EXPECT_THAT(several.err, HasSubstr("u-2"));
}

TEST_F(CommandTest, AListTakesAllPages) {
  api_.lay_down("GET " + kInstances,
                {{200, R"([{"uuid":"u-1","name":"a"}])", {"X-Pagination-Marker: u-1"}},
                 {200, R"([{"uuid":"u-2","name":"b"}])", {}}});
  const Ran ran = command({"instances", "list", "--filter", "status=ACTIVE", "--sort", "name"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out, HasSubstr("u-1"));
  EXPECT_THAT(ran.out, HasSubstr("u-2"));
  const auto requests = api_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_THAT(requests[0].target, HasSubstr("status=ACTIVE&sort_key=name"));
  EXPECT_THAT(requests[1].target, HasSubstr("page_marker=u-1"));
}

TEST_F(CommandTest, CreateSendsTheOrderWithTheVersionAsReference) {
  api_.lay_down("POST " + kInstances, {{201, instance_json("NEW"), {}}});
  const Ran ran = command({"instances", "create", "--name", "demo", "--nodes", "3", "--sync", "1"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const FakeRequest request = api_.requests().back();
  const Json body = Json::parse(request.body);
  EXPECT_EQ(body["version"], "/v1/types/postgres/versions/" + kVersionId);
  EXPECT_EQ(body["nodes_number"], 3);
  EXPECT_EQ(body["sync_replica_number"], 1);
  EXPECT_EQ(body["cpu"], 1);
  EXPECT_FALSE(body.contains("description"));
  EXPECT_THAT(request.head, HasSubstr("Authorization: Bearer tl_secret-token\r\n"));
  EXPECT_THAT(request.head, HasSubstr("Idempotency-Key: "));
}

TEST_F(CommandTest, CreateWithoutSyncLeavesTheDefaultToTheApi) {
  api_.lay_down("POST " + kInstances, {{201, instance_json("NEW"), {}}});
  command({"instances", "create", "--name", "demo", "--nodes", "3"});
  EXPECT_FALSE(Json::parse(api_.requests().back().body).contains("sync_replica_number"));
}

TEST_F(CommandTest, ABusyApiIsAskedAgainWithTheSameKey) {
  api_.lay_down("POST " + kInstances,
                {{503, "{}", {"Retry-After: 1"}}, {201, instance_json("NEW"), {}}});
  EXPECT_EQ(command({"instances", "create", "--name", "demo"}).code, 0);
  std::vector<std::string> keys;
  for (const FakeRequest& request : api_.requests()) {
    const size_t at = request.head.find("Idempotency-Key: ");
    if (at != std::string::npos) keys.push_back(request.head.substr(at, 53));
  }
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0], keys[1]);
}

TEST_F(CommandTest, WaitEndsWithActive) {
  api_.lay_down("POST " + kInstances, {{201, instance_json("NEW"), {}}});
  api_.lay_down("GET " + kOne, {{200, instance_json("IN_PROGRESS"), {}},
                                {503, "{}", {}},  // away for a moment
                                {200, instance_json("ACTIVE"), {}}});
  const Ran ran = command({"instances", "create", "--name", "demo", "--wait"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("ACTIVE"));
}

TEST_F(CommandTest, WaitThatEndsInErrorIsExitCodeFive) {
  api_.lay_down("POST " + kInstances, {{201, instance_json("NEW"), {}}});
  api_.lay_down("GET " + kOne, {{200, instance_json("ERROR"), {}}});
  const Ran ran = command({"instances", "create", "--name", "demo", "--wait"});
  EXPECT_EQ(ran.code, 5);
  EXPECT_EQ(ran.err, "trunkline: nothing_fits: no host has room\n");
}

TEST_F(CommandTest, WaitThatRunsOutOfTimeIsExitCodeFour) {
  api_.lay_down("PUT " + kOne, {{200, instance_json("IN_PROGRESS"), {}}});
  api_.lay_down("GET " + kOne, {{200, instance_json("IN_PROGRESS"), {}}});
  const Ran ran = command({"instances", "retry", kId, "--wait", "--timeout", "1"});
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.err, HasSubstr("last status seen: IN_PROGRESS"));
  EXPECT_EQ(api_.requests()[0].body, "{}");
}

TEST_F(CommandTest, AnOperationIsFollowedWhenWaiting) {
  const std::string operation = "/v1/operations/" + kUserId;
  api_.lay_down("POST " + kInstances,
                {{202, R"({"status":"PENDING"})", {"Location: " + operation}}});
  api_.lay_down("GET " + operation,
                {{200, R"({"status":"PENDING"})", {}},
                 {200, R"({"status":"SUCCEEDED","resource":")" + kOne + R"("})", {}}});
  api_.lay_down("GET " + kOne, {{200, instance_json("ACTIVE"), {}}});
  const Ran ran = command({"instances", "create", "--name", "demo", "--wait"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("ACTIVE"));

  const Ran left = command({"instances", "create", "--name", "demo"});
  EXPECT_EQ(left.code, 0);
  EXPECT_THAT(left.err, HasSubstr("trunkline operations get " + kUserId));

  api_.lay_down("GET " + operation,
                {{200, R"({"status":"FAILED","error":{"type":"uuid_in_use","message":"m"}})", {}}});
  const Ran refused = command({"instances", "create", "--name", "demo", "--wait"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("uuid_in_use: m"));
}

TEST_F(CommandTest, DeleteWaitsUntilNothingIsLeft) {
  api_.lay_down("DELETE " + kOne, {{204, "", {}}});
  api_.lay_down("GET " + kOne + "/events",
                {{200, R"([{"type":"instance_deletion_started"}])", {}},
                 {200, R"([{"type":"instance_deletion_started"},{"type":"instance_deleted"}])",
                  {}}});
  EXPECT_EQ(command({"instances", "delete", kId, "--wait"}).code, 0);
  EXPECT_EQ(api_.requests().size(), 3u);
}

TEST_F(CommandTest, APasswordComesFromAFileOrStandardInput) {
  const std::string users = kOne + "/users";
  const std::string answer = R"({"uuid":")" + kUserId + R"(","name":"app","status":"NEW"})";
  api_.lay_down("POST " + users, {{201, answer, {}}});
  std::ofstream(path("password")) << "from the file\r\nsecond line\n";
  const std::vector<std::string> create = {"users", "create", "--instance", kId, "--name", "app"};
  auto with_file = create;
  with_file.insert(with_file.end(), {"--password-file", path("password")});
  EXPECT_EQ(command(with_file).code, 0);
  EXPECT_EQ(Json::parse(api_.requests().back().body)["password"], "from the file");
  const Ran piped = command(create, "from the pipe\n");
  EXPECT_EQ(piped.code, 0);
  EXPECT_EQ(Json::parse(api_.requests().back().body)["password"], "from the pipe");
  EXPECT_THAT(piped.out + piped.err, Not(HasSubstr("from the pipe")));
  EXPECT_EQ(command(create, "").code, 1);
  EXPECT_EQ(command(create, "\n").code, 1);
}

TEST_F(CommandTest, ADatabasesOwnerIsNamedByReference) {
  api_.lay_down("GET " + kOne + "/users",
                {{200, R"([{"uuid":")" + kUserId + R"(","name":"app"}])", {}}});
  api_.lay_down("POST " + kOne + "/databases", {{201, R"({"uuid":"d","name":"shop"})", {}}});
  const Ran ran = command(
      {"databases", "create", "--instance", kId, "--name", "shop", "--owner", "app"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(Json::parse(api_.requests().back().body)["owner"],
            "/v1/types/postgres/instances/" + kId + "/users/" + kUserId);
}

TEST_F(CommandTest, HostsAreCordonedByName) {
  api_.lay_down("GET /v1/hosts", {{200, R"([{"uuid":")" + kId + R"(","name":"host-a"}])", {}}});
  api_.lay_down("PUT /v1/hosts/" + kId, {{200, R"({"name":"host-a","schedulable":false})", {}}});
  EXPECT_EQ(command({"hosts", "cordon", "host-a"}).code, 0);
  EXPECT_EQ(api_.requests().back().body, R"({"schedulable":false})");
  EXPECT_EQ(command({"hosts", "uncordon", "host-a"}).code, 0);
  EXPECT_EQ(api_.requests().back().body, R"({"schedulable":true})");
}

TEST_F(CommandTest, AQuotaIsChangedOrMade) {
  const std::string path = "/v1/quotas/" + kId;
  const std::string shown = R"({"project_id":")" + kId + R"(","instances":3})";
  api_.lay_down("PUT " + path, {{200, shown, {}}});
  EXPECT_EQ(command({"quotas", "set", kId, "--instances", "3"}).code, 0);
  EXPECT_EQ(api_.requests().back().body, R"({"instances":3})");
  api_.lay_down("PUT " + path,
                {{404, R"({"type":"not_found","code":404,"message":"no quota"})", {}}});
  api_.lay_down("POST /v1/quotas", {{201, shown, {}}});
  EXPECT_EQ(command({"quotas", "set", kId, "--ram", "4096", "--disk", "9"}).code, 0);
  EXPECT_EQ(api_.requests().back().body,
            R"({"ram":4096,"disk_size":9,"uuid":")" + kId + R"("})");
  EXPECT_EQ(command({"quotas", "set", kId}).code, 1);
  EXPECT_EQ(command({"quotas", "get", "shop"}).code, 1);
}

TEST_F(CommandTest, HostsAreDrainedAndDeclaredLost) {
  api_.lay_down("GET /v1/hosts", {{200, R"([{"uuid":")" + kId + R"(","name":"host-a"}])", {}}});
  for (const std::string verb : {"drain", "lost"}) {
    api_.lay_down("POST /v1/hosts/" + kId + "/" + verb, {{200, R"({"state":"WORD"})", {}}});
    const Ran ran = command({"hosts", verb, "host-a"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.out, HasSubstr("WORD"));
    EXPECT_EQ(api_.requests().back().target, "/v1/hosts/" + kId + "/" + verb);
  }
}

TEST_F(CommandTest, OrphansAreListedAndRemoved) {
  api_.lay_down("GET /v1/hosts", {{200, R"([{"uuid":")" + kId + R"(","name":"host-a"}])", {}}});
  const std::string orphan = R"({"node":")" + kUserId + R"(","instance":"i","data_bytes":7})";
  api_.lay_down("GET /v1/hosts/" + kId, {{200, R"({"orphans":[)" + orphan + "]}", {}}});
  const Ran list = command({"hosts", "orphans", "list", "host-a"});
  EXPECT_EQ(list.code, 0) << list.err;
  EXPECT_THAT(list.out, HasSubstr(kUserId));
  api_.lay_down("POST /v1/hosts/" + kId + "/remove-orphan", {{200, R"({"name":"host-a"})", {}}});
  EXPECT_EQ(command({"hosts", "orphans", "remove", "host-a", "--node", kUserId}).code, 0);
  EXPECT_EQ(api_.requests().back().body, R"({"node":")" + kUserId + R"("})");
  EXPECT_NE(command({"hosts", "orphans", "remove", "host-a", "--node", "x"}).code, 0);
}

const std::string kFailover = R"({"term":2,"kind":"failover","status":"COMPLETED",
  "from_node":"n-a","from_host":"host-a","to_node":"n-b","to_host":"host-b",
  "started_at":"T1","promoted_at":"T2","opened_at":"T3","duration_ms":1234,
  "rule":"primary_silent","why":"its host is silent","facts":["heard \u001b[2J never"],
  "blocked":[{"at":"T4","rule":"too_few","why":"one voter is missing","facts":["a fact"]}],
  "promotion":{"rule":"furthest","why":"it has the most","facts":[]},
  "lost_bytes":77,"requested_by":"token:t"})";

TEST_F(CommandTest, FailoversAreExplained) {
  api_.lay_down("GET " + kOne + "/failovers", {{200, "[" + kFailover + "]", {}}});
  const Ran ran = command({"failovers", "explain", kId});
  EXPECT_EQ(ran.code, 0) << ran.err;
  for (const char* part : {"Term 2", "host-a", "begun T1", "token:t", "its host is silent",
                           "[primary_silent]", "one voter is missing", "T4", "a fact",
                           "Promoted host-b (node n-b), T2: it has the most", "77 bytes",
                           "after 1234 ms"}) {
    EXPECT_THAT(ran.out, HasSubstr(part));
  }
  EXPECT_THAT(ran.out, Not(HasSubstr("\x1b")));
  const Ran listed = command({"failovers", "list", kId, "-n", "1"});
  EXPECT_THAT(listed.out, HasSubstr("primary_silent"));
  EXPECT_THAT(api_.requests().back().target, HasSubstr("page_limit=1"));
}

TEST_F(CommandTest, ARefusedFailoverIsExplained) {
  const std::pair<std::string, const char*> cases[] = {{"REFUSED", "It still waits."},
                                                       {"WITHDRAWN", "The primary came back."}};
  for (const auto& [status, end] : cases) {
    const std::string told = R"([{"term":1,"kind":"failover","rule":"primary_away",)"
                             R"("started_at":"T1","why":"n-b is missing","status":")" +
                             status + "\"}]";
    api_.lay_down("GET " + kOne + "/failovers", {{200, told, {}}});
    const Ran ran = command({"failovers", "explain", kId});
    for (const char* part : {"nobody may be promoted, since T1", "n-b is missing", end}) {
      EXPECT_THAT(ran.out, HasSubstr(part));
    }
  }
}

TEST_F(CommandTest, DecisionsAreReplayed) {
  const auto decision = [](const std::string& result, const std::string& now) {
    return R"({"position":41,"version":7,"time":"T1","event":"failover_started","result":")" +
           result + R"(","why":"the \u001b[2J reason","then":{"rule":"primary_silent",)" +
           R"("why":"w","assigns":"failover in term 2"})" + now + "}";
  };
  const std::string now = R"(,"now":{"rule":"primary_away","why":"w","assigns":"nothing"})";
  const std::string path = "GET " + kOne + "/failovers/replay";
  api_.lay_down(path, {{200, "[" + decision("SAME", now) + "," + decision("NOT_RECORDED", "") +
                                 "]", {}}});
  const Ran same = command({"failovers", "replay", kId});
  EXPECT_EQ(same.code, 0) << same.err;
  for (const char* part : {"41", "T1", "failover_started", "SAME", "NOT_RECORDED",
                           "primary_silent", "primary_away", "failover in term 2", "nothing"}) {
    EXPECT_THAT(same.out, HasSubstr(part));
  }
  EXPECT_THAT(same.out, Not(HasSubstr("\x1b")));

  api_.lay_down(path, {{200, "[" + decision("SAME", now) + "," + decision("DIFFERENT", now) + "]",
                        {}}});
  const Ran different = command({"failovers", "replay", kId, "--position", "41", "-o", "json"});
  EXPECT_EQ(different.code, 7) << different.err;
  EXPECT_THAT(different.out, HasSubstr("\"DIFFERENT\""));
  EXPECT_THAT(api_.requests().back().target, HasSubstr("position=41"));
  EXPECT_EQ(command({"failovers", "replay", kId, "--position", "0"}).code, 1);
  EXPECT_EQ(command({"failovers", "replay"}).code, 1);
}

TEST_F(CommandTest, ASwitchoverIsWaitedFor) {
  const auto instance = [](const std::string& rest) {
    return FakeAnswer{200, R"({"uuid":")" + kId + "\"," + rest + "}", {}};
  };
  const FakeAnswer before = instance(R"("term":1)");
  const FakeAnswer under_way = instance(R"("term":2,"failover":{"why":"it waits"})");
  api_.lay_down("GET " + kOne, {before, before, under_way, instance(R"("term":2)")});
  api_.lay_down("POST " + kOne + "/switchover", {under_way});
  api_.lay_down("GET " + kOne + "/failovers", {{200, R"([{"status":"COMPLETED"}])", {}},
                                              {200, R"([{"status":"GIVEN_UP","promotion":
                                                {"why":"it has not stopped"}}])", {}}});
  const Ran ran = command({"failovers", "switchover", kId, "--to", kUserId, "--wait"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(api_.requests()[1].body, R"({"target":")" + kUserId + "\"}");
  EXPECT_THAT(ran.out, Not(HasSubstr("it waits")));
  EXPECT_EQ(api_.requests().size(), 6u);
  api_.lay_down("GET " + kOne, {before, before, under_way, instance(R"("term":3)")});
  const Ran given_up = command({"failovers", "switchover", kId, "--wait"});
  EXPECT_EQ(given_up.code, 5);
  EXPECT_THAT(given_up.err, HasSubstr("it has not stopped"));
  api_.lay_down("GET " + kOne, {under_way});
  const Ran late = command({"failovers", "switchover", kId, "--wait", "--timeout", "1"});
  EXPECT_EQ(late.code, 4);
  EXPECT_THAT(late.err, HasSubstr("it waits"));
}

TEST_F(CommandTest, AnOverrideMustSayThatItAcceptsLoss) {
  api_.lay_down("POST " + kOne + "/failover", {{200, R"({"term":3})", {}}});
  EXPECT_EQ(command({"failovers", "override", kId}).code, 1);
  EXPECT_TRUE(api_.requests().empty());
  EXPECT_EQ(command({"failovers", "override", kId, "--accept-data-loss"}).code, 0);
  EXPECT_EQ(api_.requests().back().body, R"({"accept_data_loss":true})");
}

TEST_F(CommandTest, ATokenGoesIntoAPrivateFile) {
  api_.lay_down("POST /v1/tokens",
                {{201, R"({"uuid":")" + kId + R"(","role":"member","token":"tl_canary"})", {}}});
  const std::vector<std::string> create = {"tokens", "create", "--name", "ci",
                                           "--out", path("new-token")};
  const Ran ran = command(create);
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out + ran.err, Not(HasSubstr("tl_canary")));
  std::string line;
  std::getline(std::ifstream(path("new-token")), line);
  EXPECT_EQ(line, "tl_canary");
  struct stat status {};
  ASSERT_EQ(stat(path("new-token").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  // an existing file is left alone, and no token is made for nothing
  const size_t asked = api_.requests().size();
  EXPECT_EQ(command(create).code, 1);
  EXPECT_EQ(api_.requests().size(), asked);
}

TEST_F(CommandTest, RunJsonSaysWhereThePlatformIs) {
  std::ofstream(path("run.json"))
      << R"({"api":")" << api_.url() << R"(/","admin_token_file":")" << token_file_
      << R"(","processes":[{"name":"self","pid":)" << getpid() << R"(,"log":"/l"}]})";
  api_.lay_down("GET " + kInstances, {{200, "[" + instance_json("ACTIVE") + "]", {}}});
  api_.lay_down("GET /v1/hosts", {{200, "[]", {}}});
  api_.lay_down("GET /v1/admin/alerts", {{200, R"([{"rule":"host_silent"}])", {}}});
  api_.lay_down("GET /healthz", {{200, "ok", {}}});
  api_.lay_down("GET /readyz", {{200, "ok", {}}});
  const std::map<std::string, std::string> home = {{"TRUNKLINE_HOME", directory_.path()}};
  EXPECT_EQ(run_command({"instances", "list"}, home).code, 0);
  EXPECT_THAT(api_.requests().back().head, HasSubstr("Bearer tl_secret-token"));
  const Ran status = run_command({"status"}, home);
  EXPECT_EQ(status.code, 0) << status.err;
  EXPECT_THAT(status.out, HasSubstr("1 ACTIVE"));
  EXPECT_THAT(status.out, HasSubstr("running"));
  EXPECT_THAT(status.out, HasSubstr("host_silent"));
  api_.lay_down("GET /readyz", {{503, "", {}}});
  EXPECT_EQ(run_command({"status"}, home).code, 4);
}

TEST_F(CommandTest, AuditShowsTheNewestLast) {
  api_.lay_down("GET /v1/audit",
                {{200, R"([{"command":"second","outcome":"rejected"},{"command":"first"}])", {}}});
  const Ran ran = command({"audit", "--project", kId, "--outcome", "rejected", "--from",
                           "2026-01-01T00:00:00+01:00", "-n", "7"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_LT(ran.out.find("first"), ran.out.find("second"));
  const std::string head = api_.requests().back().head;
  EXPECT_THAT(head, HasSubstr("project=" + kId));
  EXPECT_THAT(head, HasSubstr("outcome=rejected"));
  EXPECT_THAT(head, HasSubstr("from=2026-01-01T00%3A00%3A00%2B01%3A00"));
  EXPECT_THAT(head, HasSubstr("page_limit=7"));
  EXPECT_THAT(head, HasSubstr("User-Agent: trunkline-cli"));
}

TEST_F(CommandTest, RunJsonsTokenIsNotSentToAnotherApi) {
  std::ofstream(path("run.json"))
      << R"({"api":"http://127.0.0.1:1","admin_token_file":")" << token_file_ << R"("})";
  api_.lay_down("GET " + kInstances, {{200, "[]", {}}});
  EXPECT_EQ(run_command({"instances", "list", "--api", api_.url()},
                        {{"TRUNKLINE_HOME", directory_.path()}})
                .code,
            0);
  EXPECT_THAT(api_.requests().back().head, Not(HasSubstr("Authorization")));
}

TEST_F(CommandTest, ABrokenRunJsonIsExitCodeOne) {
  std::ofstream(path("run.json")) << "{";
  EXPECT_EQ(run_command({"status"}, {{"TRUNKLINE_HOME", directory_.path()}}).code, 1);
}

TEST_F(CommandTest, TheApisTextCannotDriveTheTerminal) {
  api_.lay_down("GET " + kInstances, {{200, R"([{"uuid":"u","name":"\u001b[2Jx\nforged"}])", {}}});
  EXPECT_THAT(command({"instances", "list"}).out, Not(HasSubstr("\x1b")));
  api_.lay_down("GET " + kOne, {{409, R"({"type":"\u001b[2J","message":"\u001b]0;x\u0007"})", {}}});
  EXPECT_THAT(command({"instances", "get", kId}).err, Not(HasSubstr("\x1b")));
}

TEST_F(CommandTest, RebuildGoesThroughTheApi) {
  api_.lay_down("POST /v1/admin/read-model/rebuild", {{200, R"({"events":12,"ok":true})", {}}});
  const Ran ran = command({"log", "rebuild"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("12"));
  api_.lay_down("POST /v1/admin/read-model/rebuild",
                {{200, R"({"ok":false,"error":"the log is away"})", {}}});
  const Ran failed = command({"log", "rebuild"});
  EXPECT_EQ(failed.code, 4);
  EXPECT_THAT(failed.err, HasSubstr("the log is away"));
}

TEST_F(CommandTest, CompletionKnowsEveryCommand) {
  const Ran ran = command({"completion", "bash"});
  EXPECT_EQ(ran.code, 0);
  for (const char* words : {"\"instances\") words=\"list get create update delete history retry",
                            "\"failovers\") words=\"list explain replay switchover override",
                            "\"failovers replay\") words=\"", "--position",
                            "\"log\") words=\"tail show at verify stats rebuild",
                            "\"users create\") words=\"", "--password-file"}) {
    EXPECT_THAT(ran.out, HasSubstr(words));
  }
}

}  // namespace
}  // namespace trunkline::cli
