// Reads {policy, requests: [{action, resource, context}]} and prints, for each request, what IAM would answer.
import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const account = '123456789012'
const { policy, requests } = JSON.parse(readFileSync(0, 'utf8'))
const answers = []
for (const { action, resource, context } of requests) {
  const response = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${account}:role/manager`,
        action,
        resource: { resource, accountId: account },
        contextVariables: context
      },
      identityPolicies: [{ name: 'manager', policy }],
      serviceControlPolicies: [],
      resourceControlPolicies: []
    },
    {}
  )
  if (response.resultType === 'error' || response.errors) throw new Error(`${action}: ${JSON.stringify(response.errors)}`)
  answers.push(response.result.analysis.result)
}
console.log(JSON.stringify(answers))
