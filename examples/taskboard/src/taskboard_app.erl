%% Starts the board: its routes, and the listener that the application's environment names.
%%
%% The environment: `listener` is outrider or cowboy, `port` a TCP port (0 takes any free one), `password` the team's.
-module(taskboard_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1]).

start(_Type, _Args) ->
    ok = taskboard_session:make_key(),
    {ok, Sup} = taskboard_sup:start_link(),
    {ok, Port} = application:get_env(taskboard, port),
    case (listener()):start_clear(taskboard, [{port, Port}], options()) of
        {ok, _Listener} -> {ok, Sup};
        {error, Reason} -> {error, Reason}
    end.

%% The listener goes before the board does.
prep_stop(State) ->
    ok = (listener()):stop_listener(taskboard),
    State.

stop(_State) ->
    ok.

%% The one place that knows of two servers.
listener() ->
    {ok, Listener} = application:get_env(taskboard, listener),
    Listener.

options() ->
    #{
        env => #{dispatch => dispatch()},
        middlewares => [cowboy_router, taskboard_session_m, cowboy_handler],
        stream_handlers => [taskboard_request_h, cowboy_compress_h, cowboy_metrics_h, cowboy_stream_h],
        metrics_callback => fun taskboard_metrics:record/1
    }.

dispatch() ->
    cowboy_router:compile([
        {'_', [
            {"/", cowboy_static, {priv_file, taskboard, "index.html"}},
            {"/assets/[...]", cowboy_static, {priv_dir, taskboard, "assets"}},
            {"/login", taskboard_login_handler, login},
            {"/logout", taskboard_login_handler, logout},
            {"/tasks", taskboard_tasks_handler, []},
            {"/tasks/:id", [{id, int}], taskboard_task_handler, []},
            {"/import", taskboard_import_handler, []},
            {"/events", taskboard_events_handler, []},
            {"/socket", taskboard_socket_handler, []},
            {"/metrics", taskboard_metrics_handler, []}
        ]}
    ]).
