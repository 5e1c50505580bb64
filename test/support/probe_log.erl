%% A logger handler that gives every event of level notice and above to the probe of the run under way.
-module(probe_log).

-export([attach/1, detach/0]).
-export([log/2]).

-spec attach(probe:probe()) -> ok.
attach(Probe) ->
    logger:add_handler(?MODULE, ?MODULE, #{level => notice, config => #{probe => Probe}}).

-spec detach() -> ok.
detach() ->
    logger:remove_handler(?MODULE).

%% Logger's callback; runs in the process that logs.
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(Event, #{config := #{probe := Probe}}) ->
    probe:log(Probe, transcript:log_entry(Event)).
