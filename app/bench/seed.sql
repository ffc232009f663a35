-- A project as it is after months: :tasks open tasks, and :labels answers on finished ones. Texts are shared by many tasks,
-- so that the tables that matter for the queue are large and the disk is not.
create temp table person as
  with made as (
    insert into users (email, name, password_hash, preferences)
    select 'past-' || n || '@example.org', 'Past ' || n, 'x', '{}' from generate_series(1, 2000) n returning id)
  select id, row_number() over (order by id) - 1 as n from made;
insert into memberships (project_id, user_id, role) select :project, id, 'annotator' from person;

create temp table question as
  select id, row_number() over (order by id) - 1 as n from prompts where project_id = :project;
create temp table written as
  with made as (
    insert into trajectories (project_id, prompt_id, author_kind, model_id, deployment_id, sampling, seed, content_hash)
    select :project, q.id, 'model', :model, :deployment, '{"temperature": 0.7}', k, md5(q.id || ':' || k)
    from question q, generate_series(1, 4) k returning id, prompt_id)
  select id, prompt_id, row_number() over (partition by prompt_id order by id) as k from made;
insert into steps (trajectory_id, position, actor, content, model_id, deployment_id, finish_reason)
  select id, 0, 'agent', 'Answer ' || k || '. '
    || repeat('It depends on what you want to do with it, and on how much **time** there is. ', 3 + k::int * 2)
    || E'\n\n- first, look at what is there\n- then, decide\n', :model, :deployment, 'stop'
  from written;

create temp table task as
  with made as (
    insert into tasks (project_id, prompt_id, protocol_id, deployment_id, state, answers_needed, answers)
    select :project, q.id, :protocol, :deployment, case when i <= :tasks then 'open' else 'done' end,
      case when i <= :tasks then 1 else 10 end, case when i <= :tasks then 0 else 10 end
    from generate_series(1, :tasks + :labels / 10) as number (i)
    join question q on q.n = i % (select count(*) from question)
    returning id, prompt_id, state)
  select id, prompt_id, state, row_number() over (order by id) as n from made;
insert into task_segments (task_id, position, trajectory_id)
  select t.id, p, w.id from task t cross join generate_series(0, 1) p
  join written w on w.prompt_id = t.prompt_id and w.k = 1 + (t.n + p) % 4;

insert into assignments (task_id, project_id, user_id, lease_token, lease_until, display_order, idempotency_key, served_at,
    outcome, submitted_at, active_ms)
  select t.id, :project, p.id, gen_random_uuid(), now() - interval '1 day', '{0,1}', gen_random_uuid(), now() - interval '1 day',
    'answered', now() - interval '1 day', 9000
  from task t cross join generate_series(0, 9) k join person p on p.n = (t.n * 10 + k) % 2000 where t.state = 'done';
insert into preferences (project_id, task_id, assignment_id, user_id, field, outcome, tiers, idempotency_key)
  select :project, task_id, id, user_id, 'overall', 'prefer', '[[0],[1]]', idempotency_key
  from assignments where project_id = :project;
