#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/digest.h"
#include "proxy/domain/carried.h"
#include "proxy/domain/prepared_text.h"
#include "proxy/domain/scram.h"
#include "proxy/domain/session_ties.h"
#include "proxy/domain/startup.h"
#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

constexpr char kUuid[] = "11111111-2222-4333-8444-555555555555";

// --- start-up packets ---

FirstPacket parsed(const std::vector<std::pair<std::string, std::string>>& parameters) {
  return parse_first_packet(startup_packet(parameters));
}

TEST(Startup, sizes) {
  const auto size = [](uint32_t value) {
    std::string bytes;
    put_uint32(bytes, value);
    return first_packet_size(bytes);
  };
  EXPECT_FALSE(size(0));
  EXPECT_FALSE(size(7));
  EXPECT_EQ(size(8), 8u);
  EXPECT_EQ(size(kMaxStartupBytes), kMaxStartupBytes);
  EXPECT_FALSE(size(kMaxStartupBytes + 1));
  EXPECT_FALSE(size(UINT32_MAX));
}

TEST(Startup, user_and_database_come_first_and_the_rest_follows) {
  const FirstPacket packet = parsed({{"application_name", "x"}, {"user", "u"}});
  EXPECT_EQ(packet.kind, FirstPacket::Kind::startup);
  using Pair = std::pair<std::string, std::string>;
  EXPECT_THAT(packet.parameters,
              ::testing::ElementsAre(Pair{"user", "u"}, Pair{"database", "u"},
                                     Pair{"application_name", "x"}));
}

TEST(Startup, refuses_what_is_malformed) {
  EXPECT_EQ(parsed({{"database", "d"}}).why.sqlstate, "28000");
  std::string unfinished = startup_packet({{"user", "u"}});
  unfinished.pop_back();
  EXPECT_EQ(parse_first_packet(unfinished).kind, FirstPacket::Kind::malformed);
  const std::string trailing = startup_packet({{"user", "u"}}) + "x";
  EXPECT_EQ(parse_first_packet(trailing).kind, FirstPacket::Kind::malformed);
  EXPECT_EQ(parse_first_packet(ssl_request() + "x").kind, FirstPacket::Kind::malformed);
  EXPECT_EQ(parse_first_packet(cancel_request(1, 2) + "x").kind, FirstPacket::Kind::malformed);
}

TEST(Startup, replication_in_all_its_spellings) {
  for (const char* yes : {"true", "on", "yes", "1", "database", "t", "TRUE", "y", "ON", "tru"}) {
    EXPECT_TRUE(parsed({{"user", "u"}, {"replication", yes}}).replication) << yes;
  }
  for (const char* no : {"false", "off", "no", "0", "FALSE", "f", "n", "of", "Off", "fals"}) {
    const FirstPacket packet = parsed({{"user", "u"}, {"replication", no}});
    EXPECT_FALSE(packet.replication) << no;
    EXPECT_EQ(packet.why.sqlstate, "") << no;
  }
  for (const char* neither : {"", "o", "2", "falsee", "DATABASE", "perhaps"}) {
    EXPECT_EQ(parsed({{"user", "u"}, {"replication", neither}}).why.sqlstate, "22023") << neither;
  }
}

TEST(Startup, the_newest_protocol_is_named_as_the_server_names_it) {
  FirstPacket packet = parsed({{"user", "u"}});
  EXPECT_EQ(negotiation(packet), "");
  packet.minor_version = 2;
  EXPECT_EQ(negotiation(packet), message('v', std::string("\0\3\0\0\0\0\0\0", 8)));
  packet.unknown_options = {"_pq_.x"};
  EXPECT_EQ(negotiation(packet), message('v', std::string("\0\3\0\0\0\0\0\1_pq_.x\0", 15)));
}

TEST(Startup, a_reader_is_read_only_whatever_it_asks_for_first) {
  using Pair = std::pair<std::string, std::string>;
  EXPECT_THAT(
      reading_parameters({{"user", "u"},
                          {"Default_Transaction_Read_Only", "off"},
                          {"options", "-c default_transaction_read_only=off"}}),
      ::testing::ElementsAre(Pair{"user", "u"},
                             Pair{"options", "-c default_transaction_read_only=off"
                                             " -c default_transaction_read_only=on"}));
  EXPECT_THAT(reading_parameters({}),
              ::testing::ElementsAre(Pair{"options", "-c default_transaction_read_only=on"}));
}

TEST(Startup, endpoint_in_options) {
  struct Row {
    std::string options;
    std::string rest;
    bool found;
    EndpointKind kind;
  };
  const std::string id = kUuid;
  const auto read_write = EndpointKind::read_write;
  const std::vector<Row> rows = {
      {"-c trunkline.endpoint=" + id, "", true, read_write},
      {"-ctrunkline.endpoint=" + id, "", true, read_write},
      {"--trunkline.endpoint=" + id, "", true, read_write},
      {"-c trunkline.endpoint=" + id + "-ro", "", true, EndpointKind::read_only},
      {"  -c  geqo=off  -c trunkline.endpoint=" + id + " ", "-c geqo=off", true, read_write},
      {"-c trunkline.endpoint=" + id + " -c a=b\\ c", "-c a=b\\ c", true, read_write},
      {"-c trunkline.endpoint=" + id + "x", "", false, read_write},
      {"-c trunkline.endpoint=", "", false, read_write},
      {"trunkline.endpoint=" + id, "trunkline.endpoint=" + id, false, read_write},
      {"-c", "-c", false, read_write},
      {"\\", "\\", false, read_write},
      {"", "", false, read_write},
  };
  for (const auto& row : rows) {
    const SplitOptions split = split_options(row.options);
    EXPECT_EQ(split.rest, row.rest) << row.options;
    EXPECT_EQ(split.endpoint.has_value(), row.found) << row.options;
    if (split.endpoint) {
      EXPECT_EQ(split.endpoint->kind, row.kind) << row.options;
    }
  }
}

TEST(Startup, an_endpoint_that_is_misspelt_names_nothing_that_exists) {
  const FirstPacket packet = parsed({{"user", "u"}, {"options", "-c trunkline.endpoint=x"}});
  ASSERT_TRUE(packet.endpoint);
  EXPECT_TRUE(packet.endpoint->instance.empty());
}

TEST(Startup, server_names) {
  const std::string id = kUuid;
  EXPECT_EQ(endpoint_of_server_name(id)->instance.str(), id);
  EXPECT_EQ(endpoint_of_server_name(id + ".db.example.org")->kind, EndpointKind::read_write);
  EXPECT_EQ(endpoint_of_server_name(id + "-ro.db")->kind, EndpointKind::read_only);
  EXPECT_EQ(endpoint_of_server_name("ABCDEF00-2222-4333-8444-555555555555.x")->instance.str(),
            "abcdef00-2222-4333-8444-555555555555");
  for (const auto& none : {std::string(), std::string("db.example.org"), id + "x", id + "-rox",
                           id + "-r", id.substr(1) + ".x"}) {
    EXPECT_FALSE(endpoint_of_server_name(none)) << none;
  }
}

TEST(Startup, any_bytes_are_survived) {
  std::mt19937 dice(4711);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = startup_packet({{"user", "u"}, {"options", "-c trunkline.endpoint=x y"}});
    for (uint32_t i = dice() % 6; i > 0; --i) {
      bytes[dice() % bytes.size()] = static_cast<char>(dice());
    }
    bytes.resize(8 + dice() % (bytes.size() - 7));
    const FirstPacket packet = parse_first_packet(bytes);
    if (packet.kind == FirstPacket::Kind::malformed) {
      EXPECT_FALSE(packet.why.sqlstate.empty());
    }
    if (packet.kind == FirstPacket::Kind::startup) {
      EXPECT_FALSE(packet.user.empty());
    }
  }
}

// --- SCRAM ---

// RFC 7677, section 3.
constexpr char kRfcVerifier[] =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
constexpr char kRfcNonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr char kRfcFirst[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr char kRfcFinal[] =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

TEST(Scram, the_rfcs_own_exchange) {
  ScramServer server(*parse_verifier(kRfcVerifier), kRfcNonce, "");
  ASSERT_EQ(server.take_first(kScram, kRfcFirst), ScramServer::Step::go_on);
  EXPECT_EQ(server.reply(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,"
            "i=4096");
  ASSERT_EQ(server.take_final(kRfcFinal), ScramServer::Step::go_on);
  EXPECT_EQ(server.reply(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
  EXPECT_EQ(sha256(server.client_key()), parse_verifier(kRfcVerifier)->stored_key);
}

TEST(Scram, the_key_that_a_proof_reveals_opens_another_server) {
  ScramServer first(*parse_verifier(kRfcVerifier), kRfcNonce, "");
  first.take_first(kScram, kRfcFirst);
  first.take_final(kRfcFinal);
  const Verifier verifier = *parse_verifier(kRfcVerifier);
  ScramClient client(first.client_key(), verifier.stored_key, verifier.server_key, "mine");
  ScramServer node(verifier, "theirs", "");
  ASSERT_EQ(node.take_first(kScram, client.first()), ScramServer::Step::go_on);
  const auto last = client.final(node.reply());
  ASSERT_TRUE(last);
  ASSERT_EQ(node.take_final(*last), ScramServer::Step::go_on);
  EXPECT_TRUE(client.is_genuine(node.reply()));
  EXPECT_FALSE(client.is_genuine("v=" + base64(std::string(32, 'x'))));
}

TEST(Scram, every_flipped_bit_of_a_proof_is_wrong) {
  const std::string proof = *unbase64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  for (size_t bit = 0; bit < 256; ++bit) {
    std::string other = proof;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
    ScramServer server(*parse_verifier(kRfcVerifier), kRfcNonce, "");
    server.take_first(kScram, kRfcFirst);
    EXPECT_EQ(server.take_final("c=biws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce) + ",p=" +
                                base64(other)),
              ScramServer::Step::wrong_proof);
    EXPECT_TRUE(server.client_key().empty());
  }
}

TEST(Scram, malformed_messages) {
  const auto first = [](std::string_view mechanism, std::string_view text, std::string binding) {
    return ScramServer(*parse_verifier(kRfcVerifier), kRfcNonce, std::move(binding))
        .take_first(mechanism, text);
  };
  const auto bad = ScramServer::Step::malformed;
  const auto good = ScramServer::Step::go_on;
  EXPECT_EQ(first(kScram, "n,,n=,r=abc", ""), good);
  EXPECT_EQ(first(kScram, "y,,n=,r=abc", ""), good);
  EXPECT_EQ(first(kScram, "y,,n=,r=abc", "hash"), bad);  // binding was hidden from the client
  EXPECT_EQ(first(kScram, "p=tls-server-end-point,,n=,r=abc", "hash"), bad);
  EXPECT_EQ(first(kScramPlus, "p=tls-server-end-point,,n=,r=abc", "hash"), good);
  EXPECT_EQ(first(kScramPlus, "p=tls-server-end-point,,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScramPlus, "p=tls-unique,,n=,r=abc", "hash"), bad);
  EXPECT_EQ(first(kScramPlus, "n,,n=,r=abc", "hash"), bad);
  EXPECT_EQ(first("SCRAM-SHA-1", "n,,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScram, "n,a=other,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScram, "n,,n=,r=", ""), bad);
  EXPECT_EQ(first(kScram, "n,,m=ext,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScram, "", ""), bad);
  for (const std::string& text :
       {std::string(), std::string("c=biws,r=rOprNGfwEbeRWgbNEkqO,p=AAAA"),
        "c=eSws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce) + ",p=AAAA",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce) + ",p=AAAA"}) {
    ScramServer server(*parse_verifier(kRfcVerifier), kRfcNonce, "");
    server.take_first(kScram, kRfcFirst);
    EXPECT_EQ(server.take_final(text), bad) << text;
  }
}

TEST(Scram, a_mock_is_as_real_as_any_and_fits_no_password) {
  const Verifier mock = mock_verifier("key", "name");
  EXPECT_EQ(mock.salt, mock_verifier("key", "name").salt);
  EXPECT_NE(mock.salt, mock_verifier("key", "name2").salt);
  EXPECT_NE(mock.salt, mock_verifier("key2", "name").salt);
  EXPECT_EQ(mock.salt.size(), 16u);
  EXPECT_EQ(mock.iterations, 4096);
}

// --- carried state ---

TieSet ties_of(const std::string& sql, size_t piece = std::string::npos) {
  TextWatch watch;
  watch.begin();
  for (size_t at = 0; at < sql.size(); at += std::min(piece, sql.size() - at)) {
    watch.take(std::string_view(sql).substr(at, piece));
  }
  watch.take(std::string_view("\0", 1));
  return watch.ties();
}

TEST(Ties, are_seen_wherever_the_text_is_cut) {
  const std::vector<std::pair<std::string, Tie>> rows = {
      {"SET app.user = 'x'", Tie::own_setting},
      {"set session app.user to 1", Tie::own_setting},
      {"select 1; SeT\n\"App\".\"user\"='x'", Tie::own_setting},
      {"set /* c */ app.tenant='x'", Tie::own_setting},
      {"set -- c\n app.tenant='x'", Tie::own_setting},
      {"set/* a.b */session/**/app/* */.tenant='x'", Tie::own_setting},
      {"SELECT set_config('app.user', $1, false)", Tie::own_setting},
      {"select pg_catalog.SET_CONFIG('a.b','',true)", Tie::own_setting},
      {std::string(5000, ' ') + "set app.x = 1", Tie::own_setting},
      {std::string(5000, 'x') + " set a" + std::string(100, 'b') + ".x = 1", Tie::own_setting},
      {"DO $$ BEGIN EXECUTE 'set app.x = 1'; END $$", Tie::own_setting},
      {"select setseed(0.5)", Tie::random_seed},
      {"SET SESSION seed TO 0.5", Tie::random_seed},
      {"select currval('s')", Tie::sequence},
      {"select LASTVAL()", Tie::sequence},
      {"create temp table t (a int)", Tie::temporary_object},
      {"CREATE LOCAL TEMPORARY VIEW v AS SELECT 1", Tie::temporary_object},
      {"select 1 as a into temp t", Tie::temporary_object},
      {"create or replace temp view v as select 1", Tie::temporary_object},
      {"LISTEN news", Tie::listen},
      {"select 1; listen news", Tie::listen},
      {"select pg_advisory_lock(1)", Tie::advisory_lock},
      {"select pg_try_advisory_lock_shared(1)", Tie::advisory_lock},
      {"declare c cursor with hold for select 1", Tie::held_cursor},
  };
  for (const auto& [sql, tie] : rows) {
    for (const size_t piece : {std::string::npos, size_t{1}, size_t{3}, size_t{7}}) {
      TieSet only;
      only.add(tie);
      EXPECT_EQ(ties_of(sql, piece), only) << sql << " by " << piece;
    }
  }
  for (const char* sql :
       {"", "se", "set", "SET", "SET LOCAL app.user = 'x'", "SET work_mem = '1.5MB'",
        "UPDATE t SET a = t.b", "SELECT offset.set", "SELECT 'reset app.user'", "RESET app.user",
        "SET search_path = a.b", "select my_set_config('a.b')", "select temp from weather",
        "select hold, listen from x", "select pg_advisory_xact_lock(1)", "select nextval('s')",
        "set /* a.b */ work_mem = 1", "insert into s.t values (1)"}) {
    EXPECT_EQ(ties_of(sql), TieSet()) << sql;
  }
}

TEST(PreparedText, the_one_statement_is_found) {
  struct Row {
    const char* text;
    const char* name;
    const char* found;  // null: it is not certain
  };
  const std::vector<Row> rows = {
      {"prepare p as select 1", "p", " select 1"},
      {"insert into r values(1); prepare p as select 1", "p", " select 1"},
      {"prepare m1 as select 1; prepare m2 as select 2;", "m1", " select 1"},
      {"prepare m1 as select 1; prepare m2 as select 2;", "m2", " select 2"},
      {"/* prepare p as x; */ PREPARE P (int, numeric(10,2)) AS SELECT $1", "p", " SELECT $1"},
      {"prepare \"it's \"\"q\"\"\" as select ';'", "it's \"q\"", " select ';'"},
      {"prepare p as select $$;prepare p as x$$, $a$ $$ ; $a$", "p",
       " select $$;prepare p as x$$, $a$ $$ ; $a$"},
      {"prepare p as select E'\\';prepare p as x', 1", "p",
       " select E'\\';prepare p as x', 1"},
      {"prepare p as select 1 -- ; prepare p as x\n + 1", "p",
       " select 1 -- ; prepare p as x\n + 1"},
      {"prepare p as select 1 /* /* ; */ ; */", "p", " select 1 /* /* ; */ ; */"},
      {"prepare/**/p/**/as/**/select 1", "p", "/**/select 1"},
      {"prepare p as select 1; deallocate p; prepare p as select 2", "p", nullptr},
      {"prepare q as select 1", "p", nullptr},
      {"prepare transaction 'p'", "p", nullptr},
      {"select 'prepare p as select 1'", "p", nullptr},
      {"prepare p as select 'open", "p", nullptr},
      {"prepare p as select $a$ open", "p", nullptr},
      {"prepare U&\"p\" as select 1", "p", nullptr},
      {"prepare p as select E'a'\n'b\\'; prepare p as x'", "p", nullptr},
      {"", "p", nullptr},
  };
  for (const auto& row : rows) {
    const auto found = prepared_statement(row.text, row.name, false);
    EXPECT_EQ(found.value_or("-"), row.found == nullptr ? "-" : row.found) << row.text;
  }
  const std::string text = "prepare p as select 'a\\'; prepare p as x'";
  EXPECT_EQ(prepared_statement(text, "p", true), " select 'a\\'; prepare p as x'");
  EXPECT_FALSE(prepared_statement(text, "p", false));
  const std::string name(70, 'n');
  EXPECT_TRUE(prepared_statement("prepare " + name + " as select 1", name.substr(0, 63), false));
}

TEST(PreparedText, any_bytes_are_survived) {
  std::mt19937 dice(7);
  const std::string some = "prepare p as '\"$;/*-e\\()a \n";
  for (int round = 0; round < 20'000; ++round) {
    std::string text = "prepare p as ";
    for (uint32_t i = dice() % 30; i > 0; --i) text.push_back(some[dice() % some.size()]);
    prepared_statement(text, "p", dice() % 2 == 0);
  }
}

TEST(Carried, what_was_followed_ties) {
  CarriedState state;
  TieSet ties;
  ties.add(Tie::own_setting);
  take_followed(state, ties, true);
  EXPECT_EQ(state.tied_by, tie_text(Tie::own_setting));
  CarriedState guarded;
  guarded.lists_own_settings = true;
  guarded.statements.push_back({"n", "SELECT '\\'", {}});
  take_followed(guarded, ties, false);
  EXPECT_EQ(guarded.tied_by, "");
  take_followed(guarded, ties, true);
  EXPECT_THAT(guarded.tied_by, ::testing::HasSubstr("standard_conforming_strings"));
}

// Every text goes by Parse, which refuses several statements and executes none.
TEST(Carried, no_text_of_the_clients_is_executed) {
  CarriedState state;
  state.settings = {{"default_transaction_isolation", "serializable"}, {"search_path", "it's \\"}};
  state.role = "r";
  state.client_encoding = "LATIN1";
  state.statements.push_back({"n", "SELECT $1", {23}});
  const Replay told = replay(state, "");
  using Step = Replay::Step;
  EXPECT_EQ(told.steps,
            (std::vector<Step>{Step::must_work, Step::may_fail, Step::must_work, Step::must_work}));
  EXPECT_THAT(told.messages, ::testing::HasSubstr(parse_message("n", "SELECT $1", {23}) +
                                                  sync_message()));
  for (size_t at = 0; at < told.messages.size();) {
    EXPECT_THAT(std::string("PBECS"), ::testing::HasSubstr(told.messages.substr(at, 1)));
    at += 1 + get_uint32(told.messages.data() + at + 1);
  }
  // What changes how the rest is run comes last.
  EXPECT_LT(told.messages.find("it's"), told.messages.find("default_transaction_isolation"));
  EXPECT_EQ(replay(state, "x").steps.size(), 5u);
}

TEST(Carried, parameters_are_told_once_and_as_they_are_in_the_end) {
  const auto status = [](const std::string& name, const std::string& value) {
    return message('S', name + '\0' + value + '\0');
  };
  ServerParameters parameters;
  parameters.take_all(status("a", "1") + message('N', "note") + status("b", "2"));
  parameters.take('S', status("a", "3").substr(kHeader));
  EXPECT_EQ(parameters.messages(), message('N', "note") + status("a", "3") + status("b", "2"));
}

TEST(Carried, errors_that_are_a_statements_own) {
  for (const char* own : {"42P01", "42703", "3F000", "22P02", "0A000", "42601"}) {
    EXPECT_TRUE(is_the_statements_own(own)) << own;
  }
  for (const char* other : {"57014", "57P01", "53200", "08006", "XX000", "40001", "58030"}) {
    EXPECT_FALSE(is_the_statements_own(other)) << other;
  }
}

TEST(Carried, rows_that_are_none_are_refused) {
  CarriedState state;
  EXPECT_FALSE(take_row(state, std::string("\0\1\0\0\0\4held", 10)));
  EXPECT_FALSE(take_row(state, ""));
  EXPECT_FALSE(take_row(state, std::string("\0\4\0\0\0\1x", 7)));
  std::string row("\0\4", 2);
  for (const std::string& column : {std::string("parse"), std::string("s"),
                                    std::string("SELECT $1"), std::string("{20,1043}")}) {
    put_uint32(row, static_cast<uint32_t>(column.size()));
    row += column;
  }
  ASSERT_TRUE(take_row(state, row));
  EXPECT_THAT(state.statements[0].types, ::testing::ElementsAre(20u, 1043u));
}

}  // namespace
}  // namespace trunkline::proxy
