#include "supervisor/domain/supervision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace trunkline::supervisor {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

ProcessSpec spec(const std::string& name, int level) {
  ProcessSpec result;
  result.name = name;
  result.argv = {"/bin/" + name};
  result.level = level;
  return result;
}

// Plays the shell: carries actions out in a made-up world and writes them down as words.
class World {
 public:
  explicit World(std::vector<ProcessSpec> specs) : supervision(std::move(specs)) {}

  std::vector<std::string> step(int64_t advance_ms = 0) {
    now += Millis(advance_ms);
    std::vector<std::string> words;
    for (auto actions = supervision.next(now); !actions.empty(); actions = supervision.next(now)) {
      for (const Action& action : actions) words.push_back(carry_out(action));
    }
    return words;
  }

  std::optional<Ended> die(const std::string& name, bool success = false) {
    for (size_t i = 0; i < supervision.specs().size(); ++i) {
      if (supervision.specs()[i].name == name) {
        return supervision.exited(supervision.pid(i), success, now);
      }
    }
    return std::nullopt;
  }
  std::optional<Ended> end_helper(bool success) {
    return supervision.exited(last_helper_pid, success, now);
  }

  Supervision supervision;
  Millis now{1'000'000};
  bool reachable = true;
  int next_pid = 100;
  int last_helper_pid = 0;

 private:
  const std::string& name(size_t index) { return supervision.specs()[index].name; }

  std::string carry_out(const Action& action) {
    if (const auto* start = std::get_if<StartProcess>(&action)) {
      supervision.process_spawned(start->index, next_pid++, now);
      return "start " + name(start->index);
    }
    if (const auto* helper = std::get_if<StartHelper>(&action)) {
      last_helper_pid = next_pid++;
      supervision.helper_spawned(helper->index, last_helper_pid, now);
      return (helper->kind == HelperKind::prepare ? "prepare " : "cleanup ") + name(helper->index);
    }
    if (const auto* probe = std::get_if<ProbeReady>(&action)) {
      if (reachable) supervision.became_ready(probe->index);
      return "probe " + name(probe->index);
    }
    const auto& send = std::get<SendSignal>(action);
    return "signal " + std::to_string(send.signal) + " " + name(send.index);
  }
};

std::vector<ProcessSpec> log_and_service() {
  auto log = spec("log", 0);
  log.ready = {ReadyCheck::Kind::tcp, "127.0.0.1:1"};
  log.prepare = {"/bin/prepare"};
  auto agent = spec("agent", 1);
  agent.cleanup = {"/bin/stop-nodes"};
  return {log, agent};
}

TEST(SupervisionStart, GivenLevelsWhenTheLowerIsReadyAndPreparedThenTheHigherStarts) {
  World world(log_and_service());
  world.reachable = false;
  EXPECT_THAT(world.step(), ElementsAre("start log", "probe log"));
  EXPECT_THAT(world.step(19), IsEmpty());
  EXPECT_THAT(world.step(1), ElementsAre("probe log"));
  world.reachable = true;
  EXPECT_THAT(world.step(20), ElementsAre("probe log", "prepare log"));
  EXPECT_THAT(world.step(1'000), IsEmpty());
  EXPECT_FALSE(world.supervision.all_ready());
  world.end_helper(true);
  EXPECT_THAT(world.step(), ElementsAre("start agent"));
  EXPECT_TRUE(world.supervision.all_ready());
}

TEST(SupervisionStart, GivenPreparationThatFailsThenItIsRepeatedAndNobodyPassesIt) {
  World world(log_and_service());
  world.step();
  world.end_helper(false);
  EXPECT_THAT(world.step(), IsEmpty());
  EXPECT_EQ(world.supervision.wake_at(), world.now + Millis(500));
  EXPECT_THAT(world.step(500), ElementsAre("prepare log"));
  world.end_helper(true);
  EXPECT_THAT(world.step(), ElementsAre("start agent"));
}

TEST(SupervisionStart, GivenAProgramThatCannotBeStartedThenItIsTriedAgainWithBackOff) {
  Supervision supervision({spec("a", 0)});
  Millis now(0);
  for (const int64_t pause : {100, 200, 400}) {
    ASSERT_EQ(supervision.next(now).size(), 1u);
    supervision.process_not_spawned(0, now);
    EXPECT_TRUE(supervision.next(now + Millis(pause - 1)).empty());
    now += Millis(pause);
  }
}

TEST(SupervisionRestart, GivenADeathThenOnlyThatProcessStartsAgainAfterItsPause) {
  World world(log_and_service());
  world.step();
  world.end_helper(true);
  world.step();
  const auto ended = world.die("log");
  ASSERT_TRUE(ended);
  EXPECT_FALSE(ended->helper);
  EXPECT_EQ(ended->restart_in, Millis(100));
  EXPECT_THAT(world.step(99), IsEmpty());
  EXPECT_THAT(world.step(1), ElementsAre("start log", "probe log"));  // prepared once is enough
  EXPECT_TRUE(world.supervision.all_ready());
}

TEST(SupervisionRestart, GivenADeathBeforeTheLevelIsPreparedThenItIsPreparedAfterTheRestart) {
  World world(log_and_service());
  world.step();
  world.die("log");
  world.end_helper(false);
  EXPECT_THAT(world.step(100), ElementsAre("start log", "probe log"));
  EXPECT_THAT(world.step(400), ElementsAre("prepare log"));
}

TEST(SupervisionRestart, GivenAProcessIdThatIsNotOursThenNothingChanges) {
  World world({spec("a", 0)});
  world.step();
  EXPECT_FALSE(world.supervision.exited(4'711, true, world.now));
  EXPECT_THAT(world.step(10'000), IsEmpty());
}

TEST(SupervisionStop, GivenARunningHomeThenHigherLevelsStopAndAreCleanedBeforeLowerOnes) {
  World world(log_and_service());
  world.step();
  world.end_helper(true);
  world.step();
  world.supervision.stop();
  EXPECT_THAT(world.step(), ElementsAre("signal 15 agent"));
  EXPECT_THAT(world.step(100), IsEmpty());
  world.die("agent", true);
  EXPECT_THAT(world.step(), ElementsAre("cleanup agent"));
  EXPECT_THAT(world.step(100), IsEmpty());
  world.end_helper(true);
  EXPECT_THAT(world.step(), ElementsAre("signal 15 log"));
  EXPECT_FALSE(world.supervision.stopped());
  world.die("log", true);
  EXPECT_THAT(world.step(), IsEmpty());
  EXPECT_TRUE(world.supervision.stopped());
}

TEST(SupervisionStop, GivenProcessesOfOneLevelThenTheyStopTogether) {
  World world({spec("a", 1), spec("b", 1), spec("c", 0)});
  world.step();
  world.step();
  world.supervision.stop();
  EXPECT_THAT(world.step(), UnorderedElementsAre("signal 15 a", "signal 15 b"));
  world.die("a");
  EXPECT_THAT(world.step(), IsEmpty());
  world.die("b");
  EXPECT_THAT(world.step(), ElementsAre("signal 15 c"));
}

TEST(SupervisionStop, GivenAProcessThatDoesNotStopThenItIsKilledAtItsDeadline) {
  auto stubborn = spec("a", 0);
  stubborn.stop_signal = SIGINT;
  stubborn.stop_deadline = Millis(300);
  World world({stubborn});
  world.step();
  world.supervision.stop();
  EXPECT_THAT(world.step(), ElementsAre("signal 2 a"));
  EXPECT_EQ(world.supervision.wake_at(), world.now + Millis(300));
  EXPECT_THAT(world.step(299), IsEmpty());
  EXPECT_THAT(world.step(1), ElementsAre("signal 9 a"));
  EXPECT_THAT(world.step(10'000), IsEmpty());
  world.die("a");
  world.step();
  EXPECT_TRUE(world.supervision.stopped());
}

TEST(SupervisionStop, GivenACleanupThatHangsOrFailsThenTheRestStopsNevertheless) {
  for (const bool hangs : {true, false}) {
    auto specs = log_and_service();
    specs[1].cleanup_deadline = Millis(200);
    World world(specs);
    world.step();
    world.end_helper(true);
    world.step();
    world.supervision.stop();
    world.step();
    world.die("agent");
    EXPECT_THAT(world.step(), ElementsAre("cleanup agent"));
    if (hangs) {
      EXPECT_THAT(world.step(200), ElementsAre("signal 9 agent"));
    }
    world.end_helper(false);
    EXPECT_THAT(world.step(), ElementsAre("signal 15 log"));
  }
}

TEST(SupervisionStop, GivenNothingStartedYetThenCleanupRunsAllTheSame) {
  World world(log_and_service());
  world.supervision.stop();
  EXPECT_THAT(world.step(), ElementsAre("cleanup agent"));
  world.end_helper(true);
  EXPECT_THAT(world.step(), IsEmpty());
  EXPECT_TRUE(world.supervision.stopped());
}

TEST(SupervisionStop, GivenARunningPreparationThenItIsKilledWithItsProcess) {
  World world(log_and_service());
  world.step();
  const int preparation = world.last_helper_pid;
  world.supervision.stop();
  EXPECT_THAT(world.step(), ElementsAre("cleanup agent"));
  world.end_helper(true);
  EXPECT_THAT(world.step(), ElementsAre("signal 15 log"));
  world.die("log");
  EXPECT_THAT(world.step(), ElementsAre("signal 9 log"));
  world.supervision.exited(preparation, false, world.now);
  world.step();
  EXPECT_TRUE(world.supervision.stopped());
}

TEST(SupervisionStop, GivenADeathWhileStoppingThenNothingIsRestarted) {
  World world({spec("a", 0), spec("b", 0)});
  world.step();
  world.supervision.stop();
  world.step();
  world.die("a");
  EXPECT_THAT(world.step(60'000), ElementsAre("signal 9 b"));
}

}  // namespace
}  // namespace trunkline::supervisor
