%% A logger handler that gives every event of level notice and above to the probe of the run under way.
-module(probe_log).

-export([attach/1, attach/2, detach/0]).
-export([log/2]).

-spec attach(probe:probe()) -> ok.
attach(Probe) ->
    attach(Probe, []).

%% Without what these parts of a sidecar say.
-spec attach(probe:probe(), [Target :: binary()]) -> ok.
attach(Probe, Without) ->
    logger:add_handler(?MODULE, ?MODULE, #{level => notice, config => #{probe => Probe, without => Without}}).

-spec detach() -> ok.
detach() ->
    logger:remove_handler(?MODULE).

%% Logger's callback; runs in the process that logs.
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(Event = #{meta := Meta}, #{config := #{probe := Probe, without := Without}}) ->
    case lists:member(maps:get(target, Meta, none), Without) of
        true -> ok;
        false -> probe:log(Probe, transcript:log_entry(Event))
    end.
